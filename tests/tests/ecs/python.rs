//! A Python environment in the target folder, made once and kept: the packages come from PyPI.

use lictor_tests::run;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::OnceCell;

/// AWS's API on this machine, and the check of templates of CloudFormation.
const PACKAGES: &[&str] = &["moto[ec2,ecs,iam,sts,server]==5.2.5", "cfn-lint==1.58.0"];

/// The environment's folder of programs.
pub async fn programs() -> &'static Path {
    static MADE: OnceCell<PathBuf> = OnceCell::const_new();
    MADE.get_or_init(make).await
}

async fn make() -> PathBuf {
    let wanted = PACKAGES.join("\n");
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-ecs");
    let (mark, programs) = (dir.join("installed"), dir.join("bin"));
    if std::fs::read_to_string(&mark).is_ok_and(|there| there == wanted) {
        return programs;
    }
    let _ = std::fs::remove_dir_all(&dir);
    let base = Path::new("/usr/bin/python3");
    assert!(
        base.is_file(),
        "this test needs Debian's packages python3 and python3-venv, and tests/run installs them"
    );
    // As the caller is set up for PyPI.
    let env: Vec<(String, String)> = std::env::vars().collect();
    let env: Vec<(&str, &str)> = env.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let place = dir.display().to_string();
    let limit = Duration::from_secs(420);
    let venv = ["-m", "venv", place.as_str()];
    run(base, &venv, &env, "", limit).await.ok();
    let install = [&["-m", "pip", "install", "--quiet"], PACKAGES].concat();
    let python = programs.join("python");
    run(&python, &install, &env, "", limit).await.ok();
    std::fs::write(mark, wanted).expect("the mark");
    programs
}
