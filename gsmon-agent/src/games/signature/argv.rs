//! Looking into arguments, one by one.

/// Arguments of a process without the program's own name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arguments<'a>(pub &'a [String]);

/// Something that an argument can be. Compared without regard to case: engines do the same.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    /// The whole argument.
    Is(&'static str),
    /// The first argument.
    First(&'static str),
    /// The argument begins so.
    Begins(&'static str),
    /// The argument ends so.
    Ends(&'static str),
    /// Two arguments: key, value.
    Pair(&'static str, &'static str),
    /// A console variable of id Tech and Source with one of these values: `+set KEY VALUE` or `+KEY VALUE`.
    Set(&'static str, &'static [&'static str]),
    /// An option of an Unreal map URL: `?KEY`, with or without `=VALUE`.
    Url(&'static str),
}

/// Where arguments hold a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value {
    /// The argument after KEY, or `KEY=VALUE`.
    Key(&'static str),
    /// `+set KEY VALUE` (also seta, sets, setu) or `+KEY VALUE`.
    Cvar(&'static str),
    /// One argument `KEY VALUE` (Teeworlds console commands).
    Command(&'static str),
    /// `?KEY=VALUE` in an Unreal map URL.
    Url(&'static str),
}

fn same(left: &str, right: &str) -> bool {
    left.eq_ignore_ascii_case(right)
}

/// The rest after `prefix`, which is compared without regard to case.
fn after<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let head = text.get(..prefix.len())?;
    same(head, prefix).then(|| &text[prefix.len()..])
}

impl<'a> Arguments<'a> {
    /// The argument that `wanted` describes, if there is one.
    pub(super) fn find(self, wanted: &Arg) -> Option<&'a str> {
        let all = || self.0.iter().map(String::as_str);
        match wanted {
            Arg::Is(text) => all().find(|argument| same(argument, text)),
            Arg::First(text) => all().next().filter(|argument| same(argument, text)),
            Arg::Begins(text) => all().find(|argument| after(argument, text).is_some()),
            Arg::Ends(text) => all().find(|argument| {
                argument
                    .len()
                    .checked_sub(text.len())
                    .and_then(|start| argument.get(start..))
                    .is_some_and(|end| same(end, text))
            }),
            Arg::Pair(key, value) => self
                .0
                .windows(2)
                .find(|pair| same(&pair[0], key) && same(&pair[1], value))
                .map(|pair| pair[1].as_str()),
            Arg::Set(key, values) => self
                .value(&Value::Cvar(key))
                .filter(|found| values.iter().any(|value| same(found, value))),
            Arg::Url(key) => all().find(|argument| {
                argument
                    .split('?')
                    .skip(1)
                    .any(|option| same(option.split('=').next().unwrap_or(option), key))
            }),
        }
    }

    /// The last value given: engines let later settings win.
    pub(super) fn value(self, wanted: &Value) -> Option<&'a str> {
        let (mut found, arguments) = (None, self.0);
        for (index, argument) in arguments.iter().enumerate() {
            let next = || arguments.get(index + 1).map(String::as_str);
            let value = match wanted {
                Value::Key(key) => match after(argument, key) {
                    Some("") => next(),
                    Some(rest) => rest.strip_prefix('='),
                    None => None,
                },
                Value::Cvar(key) => {
                    if let Some(rest) = argument.strip_prefix('+') {
                        let is_set = ["set", "seta", "sets", "setu"]
                            .iter()
                            .any(|word| same(rest, word));
                        if is_set && next().is_some_and(|name| same(name, key)) {
                            arguments.get(index + 2).map(String::as_str)
                        } else if same(rest, key) {
                            next()
                        } else {
                            None
                        }
                    } else {
                        None
                    }
                }
                Value::Command(key) => after(argument, key).and_then(|rest| rest.strip_prefix(' ')),
                Value::Url(key) => argument.split('?').skip(1).find_map(|option| {
                    let (name, value) = option.split_once('=')?;
                    same(name, key).then_some(value)
                }),
            };
            found = value.or(found);
        }
        found
            .map(|value| value.trim().trim_matches('"'))
            .filter(|value| !value.is_empty())
    }

    /// The first of several that is given.
    pub(super) fn first_value(self, wanted: &[Value]) -> Option<&'a str> {
        wanted.iter().find_map(|wanted| self.value(wanted))
    }

    /// A port among them.
    pub(super) fn port(self, wanted: &[Value]) -> Option<u16> {
        self.first_value(wanted)?
            .parse()
            .ok()
            .filter(|port: &u16| *port != 0)
    }
}

/// Does `text` fit `pattern`, in which `*` stands for anything?
pub(super) fn fits(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(first) = parts.next() else {
        return false;
    };
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else {
        return rest.is_empty();
    };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn values_are_found_in_every_spelling() {
        let given = words(&[
            "+set",
            "net_port",
            "27961",
            "+sv_hostname",
            "My \"Server\"",
            "-Port=7778",
            "-name",
            "Val",
            "sv_port 8304",
            "TheIsland?listen?SessionName=A B?Port=7779",
            "+set",
            "net_port",
            "27962",
        ]);
        let given = Arguments(&given);
        assert_eq!(given.port(&[Value::Cvar("net_port")]), Some(27_962));
        assert_eq!(given.value(&Value::Cvar("sv_hostname")), Some("My \"Server"));
        assert_eq!(given.port(&[Value::Key("-port")]), Some(7_778));
        assert_eq!(given.value(&Value::Key("-name")), Some("Val"));
        assert_eq!(given.port(&[Value::Command("sv_port")]), Some(8_304));
        assert_eq!(given.value(&Value::Url("SessionName")), Some("A B"));
        assert_eq!(given.value(&Value::Key("-nam")), None);
        assert!(given.find(&Arg::Url("listen")).is_some() && given.find(&Arg::Url("lis")).is_none());
        assert!(given.find(&Arg::Set("net_port", &["27961"])).is_none());
    }

    #[test]
    fn an_argument_that_ends_too_early_has_no_value() {
        for given in [
            &["+set"][..],
            &["+set", "net_port"],
            &["-port"],
            &["-port="],
            &["sv_port"],
        ] {
            let given = words(given);
            let wanted = [
                Value::Cvar("net_port"),
                Value::Key("-port"),
                Value::Command("sv_port"),
            ];
            assert_eq!(Arguments(&given).port(&wanted), None);
        }
    }

    #[test]
    fn patterns_fit() {
        for (pattern, text, expected) in [
            ("srcds", "srcds", true),
            ("srcds", "srcds2", false),
            ("*server-linux-shipping", "palserver-linux-shipping", true),
            ("a*b*c", "axbyc", true),
            ("a*b*c", "axyc", false),
            ("ab*ba", "aba", false),
            ("*", "", true),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_arguments_are_no_panic(given in proptest::collection::vec("[+\\-?=a-cäsetkey ]{0,12}", 0..12)) {
            for wanted in [Value::Key("-k"), Value::Cvar("key"), Value::Command("a"), Value::Url("k")] {
                let _ = Arguments(&given).port(&[wanted]);
            }
            for wanted in [Arg::Ends("ä"), Arg::Begins("-ä"), Arg::First("a"), Arg::Pair("a", "b"), Arg::Url("k")] {
                let _ = Arguments(&given).find(&wanted);
            }
        }

        #[test]
        fn a_pattern_fits_what_it_was_made_of(parts in proptest::collection::vec("[a-c]{0,3}", 1..5), fill in "[a-c]{0,3}") {
            proptest::prop_assert!(fits(&parts.join("*"), &parts.join(&fill)));
        }
    }
}
