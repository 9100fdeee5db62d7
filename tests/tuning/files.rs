//! What stands in the files of `tuning/` against what is wanted and what is understood.

use std::{fs, process::Command};

use ringgate::doctor::wanted::{EXECUTOR_MEMLOCK_BYTES, Rule, SYSCTLS, Wanted};

use super::stage::{Stage, project};

/// What `ringgate.toml` and the scripts begin with.
const DEFAULT: u64 = 100_000;

fn text(path: &str) -> String {
    let path = project().join("tuning").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Lines without comments and empty ones.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[test]
fn the_table_has_the_needs_of_the_doctor() {
    let wanted: Vec<String> = SYSCTLS
        .iter()
        .flat_map(|sysctl| {
            let rule = match sysctl.rule {
                Rule::Floor => "floor",
                Rule::Ceiling => "ceiling",
            };
            sysctl.fields.iter().enumerate().map(move |(index, need)| {
                let most = need.most.map_or("-".to_owned(), |most| most.to_string());
                let (key, field) = (sysctl.key, index + 1);
                let (fixed, growth, least) = (need.fixed, need.per_thousand, need.least);
                format!("{key} {field} {rule} {fixed} {growth} {least} {most}")
            })
        })
        .collect();
    let table = text("sysctls.table");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let found: Vec<String> = lines(&table).map(words).collect();
    assert_eq!(found, wanted);
}

/// The scripts come to the same numbers by themselves.
#[test]
fn the_scripts_calculate_as_the_doctor_does() {
    let stage = Stage::poor();
    for connections in [1, 9, 999, 1_001, 40_961, 100_000, 655_359, 1_000_000, 10_000_000_u64] {
        let check = stage.run("check", &["--connections", &connections.to_string()]);
        let found: Vec<(&str, Vec<u64>)> = check.said.lines().map(wanted_of_line).collect();
        let wanted: Vec<_> = SYSCTLS.iter().map(|s| (s.key, s.at(connections))).collect();
        assert_eq!(found, wanted, "{connections}");
    }
}

/// `bad net.core.somaxconn 128 wanted >= 10000`
fn wanted_of_line(line: &str) -> (&str, Vec<u64>) {
    let (start, wanted) = line.split_once(" wanted ").expect("a wanted value");
    let key = start.split_whitespace().nth(1).expect("a key");
    let numbers = wanted.split_whitespace().skip(1).map(|word| word.parse().expect("a number"));
    (key, numbers.collect())
}

#[test]
fn sysctl_d_has_the_values_for_the_default() {
    let text = text("sysctl.d/90-ringgate.conf");
    let found: Vec<(&str, Vec<u64>)> = lines(&text)
        .map(|line| {
            let (key, value) = line.split_once(" = ").expect("an assignment");
            let numbers = value.split(' ').map(|number| number.parse().expect("a number"));
            (key.trim_start_matches('-'), numbers.collect())
        })
        .collect();
    let wanted: Vec<_> = SYSCTLS.iter().map(|s| (s.key, s.at(DEFAULT))).collect();
    assert_eq!(found, wanted);
}

/// Limits of the unit, of logins and of the container: a million connections on 128 shards.
#[test]
fn limits_hold_a_million_connections() {
    let wanted = Wanted { connections: 1_000_000, shards: 128 };
    let nofile = 1 << 20;
    assert!(nofile >= wanted.descriptors());
    let memlock = wanted.memlock_bytes();
    assert_eq!(memlock, 128 * EXECUTOR_MEMLOCK_BYTES);
    let unit = text("systemd/ringgate.service");
    for line in [
        format!("LimitNOFILE={nofile}"),
        format!("LimitMEMLOCK={}M", memlock >> 20),
        "NoNewPrivileges=yes".into(),
        "SystemCallFilter=io_uring_setup io_uring_enter io_uring_register".into(),
    ] {
        assert!(lines(&unit).any(|found| found == line), "{line} in the unit");
    }
    let tasks = unit.lines().find_map(|line| line.strip_prefix("TasksMax="));
    assert!(tasks.expect("a limit").parse::<u64>().expect("a number") >= wanted.threads());
    let limits = text("limits.d/90-ringgate.conf");
    for (item, value) in [("nofile", nofile), ("memlock", memlock >> 10)] {
        for kind in ["soft", "hard"] {
            let line = ["ringgate", kind, item, &value.to_string()].join(" ");
            let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(lines(&limits).any(|found| words(found) == line), "{line}");
        }
    }
    let compose = text("compose.yaml");
    assert!(compose.contains(&format!("memlock: {{soft: {memlock}, hard: {memlock}}}")));
}

/// Read by Python's YAML, and looked through for what must fit together.
#[test]
fn the_manifests_are_yaml_and_fit_together() {
    let script = r#"
import sys, tomllib, yaml
def load(name):
    with open("tuning/" + name) as file:
        return list(yaml.safe_load_all(file))
compose = load("compose.yaml")[0]["services"]
assert compose["gateway"]["stop_grace_period"] == "30s"
assert compose["gateway"]["environment"]["RINGGATE_DEADLINES_DRAIN"] == "20s"
assert set(compose) == {"gateway", "redis"}
kinds = {item["kind"]: item for item in load("kubernetes.yaml")}
assert set(kinds) == {"ConfigMap", "Deployment", "Service", "PodDisruptionBudget"}
config = tomllib.loads(kinds["ConfigMap"]["data"]["ringgate.toml"])
pod = kinds["Deployment"]["spec"]["template"]["spec"]
gateway = pod["containers"][0]
pause = gateway["lifecycle"]["preStop"]["sleep"]["seconds"]
drain = int(config["deadlines"]["drain"].removesuffix("s"))
assert pod["terminationGracePeriodSeconds"] > drain + pause
assert gateway["resources"]["requests"] == gateway["resources"]["limits"]
assert gateway["livenessProbe"]["httpGet"]["path"] == "/healthz"
assert gateway["readinessProbe"]["httpGet"]["path"] == "/readyz"
for item in (compose["gateway"]["sysctls"], {s["name"]: s["value"] for s in pod["securityContext"]["sysctls"]}):
    print(*(f"{key}={value}" for key, value in sorted(item.items())))
print(kinds["ConfigMap"]["data"]["ringgate.toml"])
"#;
    let output = Command::new("python3").args(["-c", script]).current_dir(project()).output();
    let output = output.expect("python3");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}; it wants python3 (3.11) and python3-yaml");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    let (sysctls, config) = said.split_at(said.match_indices('\n').nth(1).expect("lines").0);
    for pair in sysctls.split_whitespace() {
        let (key, value) = pair.split_once('=').expect("a pair");
        let sysctl = SYSCTLS.iter().find(|sysctl| sysctl.key == key).expect("one of the table");
        assert_eq!(vec![value.parse::<u64>().expect("a number")], sysctl.at(DEFAULT), "{key}");
    }
    // The program itself must take the configuration of the manifest.
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), config).expect("written");
    let output = Command::new(env!("CARGO_BIN_EXE_ringgate"))
        .args(["config", "--config"])
        .arg(file.path())
        .output()
        .expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn redis_takes_its_settings() {
    let redis = crate::support::redis::RedisServer::start_with(&[]);
    let mut client = redis::Client::open(redis.url()).and_then(|client| client.get_connection());
    let client = client.as_mut().expect("a connection");
    let text = text("redis.conf");
    for line in lines(&text)
        .filter(|line| !line.starts_with("tcp-backlog") && !line.starts_with("disable-thp"))
    {
        let (name, value) = line.split_once(' ').expect("a setting");
        let set = redis::cmd("CONFIG").arg("SET").arg(name).arg(value).exec(client);
        set.unwrap_or_else(|error| panic!("{line}: {error}"));
    }
}
