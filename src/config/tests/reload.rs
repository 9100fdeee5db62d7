//! Reading a configuration again while the process runs.

use super::*;
use crate::config::{Change, Reloaded};

/// The table says of each setting what a change takes, and the configuration follows it.
#[test]
fn what_a_reload_changes_is_what_the_table_says() {
    let before = Case::new().load();
    for setting in SETTINGS {
        let flag = setting.flag.expect("every setting of the gateway has a flag");
        let after = Case::new().flag(flag, other_value(setting.key)).load();
        let Reloaded { effective, applied, restart } = before.reload(&after);
        let keys = |changed: &[crate::config::Changed]| {
            changed.iter().map(|changed| changed.key.clone()).collect::<Vec<_>>()
        };
        if setting.change == Change::Reload {
            assert_eq!((keys(&applied), keys(&restart).len()), (vec![setting.key.into()], 0));
            assert_eq!(effective.config, after.config, "{}", setting.key);
            assert_eq!(effective.values, after.values, "{}", setting.key);
        } else {
            assert!(applied.is_empty(), "{}: {applied:?}", setting.key);
            assert!(keys(&restart).contains(&setting.key.to_owned()), "{}", setting.key);
            assert_eq!(effective, before, "{}", setting.key);
        }
    }
}

#[test]
fn the_same_again_changes_nothing() {
    let case = Case::new().file("[limits]\nconnections = 7");
    let before = case.load();
    let Reloaded { effective, applied, restart } = before.reload(&case.load());
    assert_eq!((effective, applied, restart), (before, vec![], vec![]));
}

/// It would look the same on paper: `redis://:***@h`.
#[test]
fn another_password_takes_a_restart_and_is_not_shown() {
    let with =
        |password: &str| Case::new().flag("redis", &format!("redis://:{password}@h/0")).load();
    let (before, after) = (with("one"), with("two"));
    let reloaded = before.reload(&after);
    assert_eq!(reloaded.effective, before);
    let [changed] = reloaded.restart.as_slice() else { panic!("{:?}", reloaded.restart) };
    let text = format!("{changed:?}");
    assert!(changed.key == "redis" && !text.contains("one") && !text.contains("two"), "{text}");
}

#[test]
fn routes_take_a_restart() {
    let route = |path: &str, more: &str| {
        let file = format!("[[route]]\npath = \"{path}\"\nkind = \"tasks\"\n{more}");
        Case::new().file(&file).load()
    };
    let before = route("/a", "");
    let after = route("/a", "queue_high = 9\nqueue_low = 8\n[[route]]\npath=\"/b\"\nkind=\"echo\"");
    let reloaded = before.reload(&after);
    assert!(reloaded.applied.is_empty());
    let mut keys: Vec<_> = reloaded.restart.iter().map(|changed| &*changed.key).collect();
    keys.sort_unstable();
    let expected = ["route[0].queue_high", "route[0].queue_low", "route[1].kind", "route[1].path"];
    assert_eq!(keys, expected);
    assert_eq!(reloaded.effective.config, before.config);
    let gone = after.reload(&before);
    assert!(gone.restart.iter().any(|c| c.key == "route[1].path" && c.after.is_none()));
}
