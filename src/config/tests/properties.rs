//! Any input: values or problems, never a panic; what is shown reads back.

use proptest::prelude::*;

use super::*;

fn raw_text(text: &str) -> Raw {
    Raw::Text(text.to_owned())
}

proptest! {
    #[test]
    fn shown_values_read_back(
        bytes in any::<u64>(),
        steps in 0..u64::MAX / 1_000,
        cores in proptest::collection::btree_set(0usize..=8191, 1..50),
    ) {
        prop_assert_eq!(value::bytes(&raw_text(&value::show_bytes(bytes))), Ok(bytes));
        for step_us in [1, 1_000] {
            let shown = value::show_duration(steps, step_us);
            prop_assert_eq!(value::duration(&raw_text(&shown), step_us), Ok(steps));
        }
        let cores: Vec<usize> = cores.into_iter().collect();
        prop_assert_eq!(value::cores(&raw_text(&value::show_cores(&cores))), Ok(cores));
    }

    /// Whatever the flags, variables and file say: values in range or problems, no panic.
    #[test]
    fn no_input_panics(texts in proptest::collection::vec("\\PC{0,12}|[0-9_a-zA-Z:./-]{0,12}", SETTINGS.len()), file in "\\PC{0,80}") {
        let mut case = Case::new();
        for (setting, text) in SETTINGS.iter().zip(&texts) {
            case.sources.flags.insert(setting.flag.expect("a flag"), text.clone());
        }
        let _ = load(&case.sources);
        let _ = load(&Case::new().file(&file).sources);
    }

    /// A file of known keys with any values: the same.
    #[test]
    fn no_file_value_panics(
        index in 0..SETTINGS.len(),
        toml in prop_oneof![
            any::<i64>().prop_map(|n| n.to_string()),
            any::<bool>().prop_map(|b| b.to_string()),
            any::<f32>().prop_filter("finite", |f| f.is_finite()).prop_map(|f| format!("{f:?}")),
            Just("1979-05-27".to_owned()),
            Just("{ a = 1 }".to_owned()),
            Just("[[[[[[1]]]]]]".to_owned()),
            Just("9".repeat(60)),
        ],
    ) {
        let case = Case::new().file(&format!("{} = {toml}", SETTINGS[index].key));
        if let Err(error) = load(&case.sources) {
            prop_assert!(!error.problems.is_empty());
        }
    }
}
