//! The `lictor` binary: the agent and its command line.

fn main() {
    let mut args = std::env::args_os().map(|a| a.to_string_lossy().into_owned());
    let name = args.next().unwrap_or_default();
    // Called through a link named `consul` it is that to scripts.
    let program = std::path::Path::new(&name)
        .file_name()
        .map_or_else(|| "lictor".to_owned(), |n| n.to_string_lossy().into_owned());
    let args: Vec<String> = args.collect();
    std::process::exit(lictor_agent::command::run(&args, &program));
}
