//! The tables of Registrator's conventions, and of where a port is reached.

use super::*;
use crate::facts::{Filter, HostAddress};
use crate::inspect::{Binding, Network};

const OWNER: &str = "0000000000000000000000000000000000000000000000000000000000000001";

fn container(image: &str, mode: &str) -> Container {
    let mut c = Container {
        id: "c".repeat(64),
        name: "/one".into(),
        ..Container::default()
    };
    c.config.image = image.into();
    c.host_config.network_mode = mode.into();
    c.state.running = true;
    c
}

fn binding(ip: &str, port: &str) -> Binding {
    Binding {
        host_ip: ip.into(),
        host_port: port.into(),
    }
}

fn publish(c: &mut Container, port: &str, at: &[(&str, &str)]) {
    let bindings = at.iter().map(|(ip, port)| binding(ip, port)).collect();
    c.network_settings.ports.insert(port.into(), Some(bindings));
    c.config.exposed_ports.push(port.into());
}

fn network(c: &mut Container, name: &str, v4: &str, v6: &str) {
    let n = Network {
        network_id: format!("id-{name}"),
        ip_address: v4.into(),
        ipv6_address: v6.into(),
    };
    c.network_settings.networks.insert(name.into(), n);
}

/// A container on the default bridge with these ports published on the same numbers.
fn bridge(image: &str, ports: &[&str]) -> Container {
    let mut c = container(image, "default");
    network(&mut c, "bridge", "172.17.0.2", "");
    for port in ports {
        let number = port.split('/').next().unwrap();
        publish(&mut c, port, &[("0.0.0.0", number), ("::", number)]);
    }
    c
}

fn label(mut c: Container, labels: &[(&str, &str)]) -> Container {
    for (k, v) in labels {
        c.config.labels.insert((*k).into(), (*v).into());
    }
    c
}

fn settings() -> Settings {
    Settings {
        hostname: "host1".into(),
        ..Settings::default()
    }
}

fn host() -> Surroundings {
    Surroundings {
        host: Some(HostAddress::of("192.0.2.10".parse().unwrap(), false)),
        ..Surroundings::default()
    }
}

fn planned_in(c: &Container, settings: &Settings, around: &Surroundings) -> Plan {
    plan(
        c,
        settings,
        around,
        &BTreeMap::from([(c.id.clone(), c.clone())]),
    )
}

fn planned(c: &Container) -> Plan {
    planned_in(c, &settings(), &host())
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.services
        .iter()
        .map(|s| s.request.name.as_str())
        .collect()
}

fn ids(plan: &Plan) -> Vec<&str> {
    plan.services
        .iter()
        .map(|s| s.request.id.as_str())
        .collect()
}

fn texts(plan: &Plan) -> Vec<String> {
    plan.problems.iter().map(|p| p.text.clone()).collect()
}

/// Where the only service is reached, and by which rule.
#[track_caller]
fn at(plan: &Plan) -> (String, String) {
    assert_eq!(plan.services.len(), 1, "{plan:?}");
    let e = &plan.services[0].endpoint;
    let r = &plan.services[0].request;
    assert_eq!(
        (r.address.as_str(), r.port),
        (e.at.ip().to_string().as_str(), i64::from(e.at.port()))
    );
    (e.at.to_string(), e.rule.to_string())
}

#[test]
fn services_are_named_as_registrator_names_them() {
    let nginx = || bridge("nginx", &["80/tcp", "443/tcp"]);
    for (c, want) in [
        (bridge("a/redis:7", &["6379/tcp"]), vec!["redis"]),
        (nginx(), vec!["nginx-80", "nginx-443"]),
        (
            label(nginx(), &[("SERVICE_NAME", "web")]),
            vec!["web-80", "web-443"],
        ),
        (
            label(nginx(), &[("SERVICE_80_NAME", "web")]),
            vec!["web", "nginx-443"],
        ),
        (
            label(
                nginx(),
                &[("SERVICE_NAME", "web"), ("SERVICE_443_IGNORE", "1")],
            ),
            vec!["web-80"],
        ),
        (
            label(
                nginx(),
                &[("SERVICE_NAME", "web"), ("SERVICE_443_IGNORE", "false")],
            ),
            vec!["web-80", "web-443"],
        ),
        (
            bridge("dns", &["53/tcp", "53/udp"]),
            vec!["dns-53", "dns-53"],
        ),
    ] {
        assert_eq!(names(&planned(&c)), want);
        // By variable just so.
        let mut by_env = c.clone();
        by_env.config.env = c
            .config
            .labels
            .iter()
            .map(|(k, v)| format!("{k}={v}"))
            .collect();
        by_env.config.labels.clear();
        assert_eq!(names(&planned(&by_env)), want);
    }
}

#[test]
fn ids_have_host_container_and_port_and_udp_is_said() {
    let plan = planned(&bridge("dns", &["53/udp", "53/tcp"]));
    assert_eq!(ids(&plan), ["host1:one:53", "host1:one:53:udp"]);
    assert_eq!(plan.services[0].request.tags, [] as [Str; 0]);
    assert_eq!(plan.services[1].request.tags, ["udp"]);
}

#[test]
fn two_ports_with_one_id_are_told_and_both_registered() {
    let c = label(
        bridge("web", &["80/tcp", "81/tcp"]),
        &[("SERVICE_ID", "mine")],
    );
    let plan = planned(&c);
    assert_eq!(ids(&plan), ["mine", "host1:one:81"]);
    assert!(texts(&plan)[0].contains("SERVICE_81_ID"), "{plan:?}");
    let c = label(
        bridge("web", &["80/tcp", "81/tcp"]),
        &[("SERVICE_80_ID", "a"), ("SERVICE_81_ID", "b")],
    );
    assert_eq!(
        (ids(&planned(&c)), texts(&planned(&c)).len()),
        (vec!["a", "b"], 0)
    );
}

#[test]
fn tags_and_metadata_follow() {
    let c = label(
        bridge("web", &["80/tcp"]),
        &[
            ("SERVICE_TAGS", "b,a\\,c"),
            ("SERVICE_REGION", "us2"),
            ("SERVICE_CHECK_TTL", "9s"),
        ],
    );
    let settings = Settings {
        tags: vec!["all".into()],
        ..settings()
    };
    let plan = planned_in(&c, &settings, &host());
    let r = &plan.services[0].request;
    assert_eq!(r.tags, ["b", "a,c", "all"]);
    let meta: Vec<(&str, &str)> = r
        .meta
        .as_ref()
        .unwrap()
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(meta, [("check_ttl", "9s"), ("region", "us2")]);
    assert!(r.check.is_some());
}

#[test]
fn metadata_that_the_catalog_refuses_costs_only_itself() {
    let long = "x".repeat(600);
    let c = label(
        bridge("web", &["80/tcp"]),
        &[
            ("SERVICE_LONG", &long),
            ("SERVICE_A.B", "1"),
            ("SERVICE_CONSUL-X", "1"),
            ("SERVICE_OK", "1"),
        ],
    );
    let plan = planned(&c);
    assert_eq!(plan.services[0].request.meta.as_ref().unwrap().len(), 1);
    assert_eq!(plan.problems.len(), 3, "{plan:?}");
    assert!(texts(&plan)[2].contains("longer than 512"), "{plan:?}");
    let many: Vec<(String, String)> = (0..70)
        .map(|i| (format!("SERVICE_K{i}"), "v".to_owned()))
        .collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
    let plan = planned(&label(bridge("web", &["80/tcp"]), &many));
    assert_eq!(
        (
            plan.services[0].request.meta.as_ref().unwrap().len(),
            plan.problems.len()
        ),
        (64, 6)
    );
}

#[test]
fn explicit_means_a_name_is_needed() {
    let explicit = Settings {
        mode: Mode::Explicit,
        ..settings()
    };
    let two = || bridge("web", &["80/tcp", "81/tcp"]);
    let plan = planned_in(&two(), &explicit, &host());
    assert!(plan.services.is_empty() && plan.left_out.is_some());
    let plan = planned_in(
        &label(two(), &[("SERVICE_81_NAME", "x")]),
        &explicit,
        &host(),
    );
    assert_eq!(names(&plan), ["x"]);
}

#[test]
fn some_containers_are_left_out_by_what_they_are() {
    let filtered = Settings {
        filter: Filter::parse("mine=1"),
        ..settings()
    };
    let c = bridge("web", &["80/tcp"]);
    assert!(planned_in(&c, &filtered, &host()).left_out.is_some());
    assert_eq!(
        planned_in(&label(c, &[("mine", "1")]), &filtered, &host())
            .services
            .len(),
        1
    );
    assert!(
        planned(&bridge("amazon/amazon-ecs-agent:latest", &["51678/tcp"]))
            .left_out
            .is_some()
    );
    let own = bridge("lictor", &["8500/tcp"]);
    let around = Surroundings {
        own_container: Some(own.id.clone()),
        ..host()
    };
    assert!(planned_in(&own, &settings(), &around).left_out.is_some());
    let named = label(own, &[("SERVICE_NAME", "lictor-ui")]);
    assert_eq!(
        names(&planned_in(&named, &settings(), &around)),
        ["lictor-ui"]
    );
}

#[test]
fn a_published_port_is_at_the_host() {
    let mut c = bridge("web", &[]);
    publish(&mut c, "80/tcp", &[("0.0.0.0", "32768"), ("::", "32769")]);
    c.config.exposed_ports.push("9999/tcp".into());
    c.network_settings.ports.insert("9999/tcp".into(), None);
    assert_eq!(
        at(&planned(&c)),
        ("192.0.2.10:32768".into(), "published on the host".into())
    );
    let mut both = host();
    both.host
        .as_mut()
        .unwrap()
        .add("2001:db8::1".parse().unwrap());
    let plan = planned_in(&c, &settings(), &both);
    assert_eq!(
        plan.services[0].endpoint.other.unwrap().to_string(),
        "[2001:db8::1]:32769"
    );
    let tagged = &plan.services[0].request.tagged_addresses;
    assert_eq!(
        (tagged["lan_ipv4"].port, tagged["lan_ipv6"].port),
        (32768, 32769)
    );
    // On a user-defined network as well: never the container's address with the host's port.
    c.host_config.network_mode = "app".into();
    network(&mut c, "app", "172.20.0.5", "");
    assert_eq!(at(&planned(&c)).0, "192.0.2.10:32768");
}

#[test]
fn a_port_published_on_one_address_is_there() {
    let mut c = bridge("web", &[]);
    publish(&mut c, "80/tcp", &[("198.51.100.7", "8080")]);
    assert_eq!(
        at(&planned(&c)),
        (
            "198.51.100.7:8080".into(),
            "published on an address of the host".into()
        )
    );
    let forced = Surroundings {
        host: Some(HostAddress::of("203.0.113.9".parse().unwrap(), true)),
        ..Surroundings::default()
    };
    assert_eq!(
        at(&planned_in(&c, &settings(), &forced)).0,
        "203.0.113.9:8080"
    );
}

#[test]
fn loopback_is_no_place_to_be_found() {
    let mut c = bridge("web", &[]);
    publish(&mut c, "80/tcp", &[("127.0.0.1", "8080")]);
    let plan = planned(&c);
    assert!(
        plan.services.is_empty() && texts(&plan)[0].contains("loopback"),
        "{plan:?}"
    );
    // Unless the operator says that this is the host's address.
    let forced = Surroundings {
        host: Some(HostAddress::of("127.0.0.1".parse().unwrap(), true)),
        ..Surroundings::default()
    };
    assert_eq!(
        at(&planned_in(&c, &settings(), &forced)).0,
        "127.0.0.1:8080"
    );
    publish(
        &mut c,
        "80/tcp",
        &[("127.0.0.1", "8080"), ("0.0.0.0", "9090")],
    );
    assert_eq!(at(&planned(&c)).0, "192.0.2.10:9090");
}

#[test]
fn without_the_hosts_address_a_shared_network_serves() {
    let mut c = bridge("web", &["80/tcp"]);
    c.host_config.network_mode = "app".into();
    network(&mut c, "app", "172.20.0.5", "");
    let alone = Surroundings::default();
    let plan = planned_in(&c, &settings(), &alone);
    assert!(
        plan.services.is_empty() && texts(&plan)[0].contains("docker.host_address"),
        "{plan:?}"
    );
    let shared = Surroundings {
        shared_networks: ["id-app".to_owned()].into(),
        ..alone
    };
    assert_eq!(
        at(&planned_in(&c, &settings(), &shared)),
        ("172.20.0.5:80".into(), "address in network app".into())
    );
}

#[test]
fn host_networking_counts_what_is_exposed() {
    let mut c = container("web", "host");
    c.config.exposed_ports = vec!["7777/tcp".into(), "8080/tcp".into()];
    network(&mut c, "host", "", "");
    let plan = planned(&c);
    assert_eq!(names(&plan), ["web-7777", "web-8080"]);
    assert_eq!(plan.services[1].endpoint.at.to_string(), "192.0.2.10:8080");
    assert!(
        planned_in(&c, &settings(), &Surroundings::default())
            .services
            .is_empty()
    );
}

#[test]
fn internal_gives_the_containers_own_address() {
    let internal = Settings {
        internal: true,
        ..settings()
    };
    let mut c = bridge("web", &["80/tcp"]);
    c.config.exposed_ports.push("9999/tcp".into());
    let plan = planned_in(&c, &internal, &host());
    assert_eq!(names(&plan), ["web-80", "web-9999"]);
    assert_eq!(plan.services[0].endpoint.at.to_string(), "172.17.0.2:80");
    // On several networks: the one of the mode, or the one that is named.
    let mut c = container("web", "front");
    c.config.exposed_ports.push("80/tcp".into());
    network(&mut c, "back", "10.1.0.2", "fd00::2");
    network(&mut c, "front", "10.2.0.2", "");
    assert_eq!(at(&planned_in(&c, &internal, &host())).0, "10.2.0.2:80");
    let back = Settings {
        network: Some("back".into()),
        ..internal.clone()
    };
    let plan = planned_in(&c, &back, &host());
    assert_eq!(at(&plan).0, "10.1.0.2:80");
    assert_eq!(
        plan.services[0].endpoint.other.unwrap().to_string(),
        "[fd00::2]:80"
    );
    c.host_config.network_mode = "gone".into();
    let shared = Surroundings {
        shared_networks: ["id-front".to_owned()].into(),
        ..host()
    };
    assert_eq!(at(&planned_in(&c, &internal, &shared)).0, "10.2.0.2:80");
    assert_eq!(at(&planned_in(&c, &internal, &host())).0, "10.1.0.2:80");
}

#[test]
fn an_ipv6_only_network_gives_its_address() {
    let mut c = container("web", "six");
    c.config.exposed_ports.push("80/tcp".into());
    network(&mut c, "six", "", "fd00::5");
    let internal = Settings {
        internal: true,
        ..settings()
    };
    let plan = planned_in(&c, &internal, &host());
    assert_eq!(at(&plan).0, "[fd00::5]:80");
    assert!(
        plan.services[0]
            .request
            .tagged_addresses
            .contains_key("lan_ipv6")
    );
}

#[test]
fn a_label_picks_the_network() {
    let mut c = bridge("web", &["80/tcp"]);
    network(&mut c, "app", "172.20.0.5", "");
    let c = label(c, &[("SERVICE_NETWORK", "app")]);
    assert_eq!(
        at(&planned(&c)),
        ("172.20.0.5:80".into(), "address in network app".into())
    );
    let c = label(c, &[("SERVICE_NETWORK", "none-such")]);
    assert!(
        texts(&planned(&c))[0].contains("app, bridge"),
        "{:?}",
        planned(&c)
    );
}

#[test]
fn routed_networks_need_no_publishing() {
    let mut c = container("web", "lan");
    c.config.exposed_ports.push("80/tcp".into());
    network(&mut c, "lan", "192.0.2.77", "");
    let mut around = host();
    assert!(planned_in(&c, &settings(), &around).services.is_empty());
    around.drivers.insert("id-lan".into(), "macvlan".into());
    assert_eq!(at(&planned_in(&c, &settings(), &around)).0, "192.0.2.77:80");
}

#[test]
fn a_label_may_hold_the_address() {
    let settings = Settings {
        ip_label: Some("ip".into()),
        ..settings()
    };
    let c = |ip: &str| label(bridge("web", &["80/tcp"]), &[("ip", ip)]);
    assert_eq!(
        at(&planned_in(&c("203.0.113.5/24"), &settings, &host())),
        ("203.0.113.5:80".into(), "address of the label".into())
    );
    let mut dynamic = c("203.0.113.5");
    publish(&mut dynamic, "80/tcp", &[("0.0.0.0", "32768")]);
    dynamic.config.exposed_ports = vec!["80/tcp".into()];
    assert_eq!(
        at(&planned_in(&dynamic, &settings, &host())).0,
        "203.0.113.5:32768"
    );
    // The container's own address takes the container's port.
    dynamic
        .config
        .labels
        .insert("ip".into(), "172.17.0.2".into());
    assert_eq!(
        at(&planned_in(&dynamic, &settings, &host())).0,
        "172.17.0.2:80"
    );
    let plan = planned_in(&c("nonsense"), &settings, &host());
    assert!(
        plan.services.is_empty() && texts(&plan)[0].contains("nonsense"),
        "{plan:?}"
    );
    assert_eq!(
        at(&planned_in(&bridge("web", &["80/tcp"]), &settings, &host())).0,
        "192.0.2.10:80"
    );
}

#[test]
fn a_joined_namespace_is_that_of_its_owner() {
    let mut owner = container("pause", "app");
    owner.id = OWNER.into();
    network(&mut owner, "app", "172.20.0.9", "");
    let mut c = container("web", &format!("container:{OWNER}"));
    c.config.exposed_ports.push("80/tcp".into());
    let all = |owner: &Container| {
        BTreeMap::from([(OWNER.to_owned(), owner.clone()), (c.id.clone(), c.clone())])
    };
    let plan_with =
        |owner: &Container, around: &Surroundings| plan(&c, &settings(), around, &all(owner));
    assert_eq!(at(&plan_with(&owner, &host())).0, "172.20.0.9:80");
    publish(&mut owner, "80/tcp", &[("0.0.0.0", "8088")]);
    assert_eq!(at(&plan_with(&owner, &host())).0, "192.0.2.10:8088");
    owner.host_config.network_mode = "host".into();
    assert_eq!(at(&plan_with(&owner, &host())).0, "192.0.2.10:80");
    // An ECS task with an interface of its own: Docker knows no address at all.
    owner.host_config.network_mode = "none".into();
    owner.network_settings = Default::default();
    let mut task = host();
    task.tasks
        .insert(OWNER.into(), vec!["10.0.2.61".parse().unwrap()]);
    assert_eq!(
        at(&plan_with(&owner, &task)),
        ("10.0.2.61:80".into(), "interface of the ECS task".into())
    );
    let plan = planned(&c);
    assert!(texts(&plan)[0].contains("is not there"), "{plan:?}");
}

#[test]
fn a_circle_of_joined_namespaces_ends() {
    let mut a = container("web", "container:b");
    a.id = "a".into();
    a.config.exposed_ports.push("80/tcp".into());
    let mut b = container("web", "container:a");
    b.id = "b".into();
    let all = BTreeMap::from([("a".to_owned(), a.clone()), ("b".to_owned(), b)]);
    assert_eq!(plan(&a, &settings(), &host(), &all).problems.len(), 1);
}

#[test]
fn what_was_meant_to_be_found_and_is_not_is_told() {
    let mut c = bridge("web", &[]);
    c.config.exposed_ports.push("80/tcp".into());
    let plan = planned(&c);
    assert_eq!(
        (plan.problems.len(), plan.left_out),
        (0, Some("no port is published"))
    );
    let plan = planned(&label(c.clone(), &[("SERVICE_NAME", "web")]));
    assert!(texts(&plan)[0].contains("no port is published"), "{plan:?}");
    let plan = planned(&label(c, &[("SERVICE_80_NAME", "web")]));
    assert_eq!(plan.problems[0].port.as_ref().unwrap().port, 80);
    let none = label(container("web", "none"), &[("SERVICE_NAME", "web")]);
    assert!(texts(&planned(&none))[0].contains("mode none"));
}

#[test]
fn a_range_of_ports_is_bounded() {
    let ports: Vec<String> = (1000..1400).map(|p| format!("{p}/tcp")).collect();
    let ports: Vec<&str> = ports.iter().map(String::as_str).collect();
    let plan = planned(&bridge("web", &ports));
    assert_eq!(
        (plan.services.len(), plan.problems.len()),
        (SERVICES_MAX, 1)
    );
}

proptest::proptest! {
    /// Whatever labels, variables and ports say, a plan is made, and its addresses are of one
    /// source: what is not at the host has the container's port.
    #[test]
    fn anything_makes_a_plan(
        env in proptest::collection::vec("(SERVICE_)?[A-Z0-9_.]{0,12}=.{0,20}", 0..8),
        ports in proptest::collection::vec("[0-9]{0,6}(/[a-z]{0,4})?", 0..6),
        host_port in 1u16..,
        mode in "default|host|none|app|container:x",
        internal: bool,
    ) {
        let mut c = container("a/b:1", &mode);
        c.config.env = env;
        network(&mut c, "app", "172.20.0.5", "fd00::5");
        for port in &ports {
            publish(&mut c, port, &[("0.0.0.0", &host_port.to_string())]);
        }
        let settings = Settings { internal, ..settings() };
        for s in planned_in(&c, &settings, &host()).services {
            let e = s.endpoint;
            if e.at.ip().to_string() == "192.0.2.10" && mode != "host" {
                proptest::prop_assert_eq!(e.at.port(), host_port);
            } else {
                proptest::prop_assert_eq!(e.at.port(), s.port.port);
            }
        }
    }
}
