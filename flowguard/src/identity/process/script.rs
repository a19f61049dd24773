//! Which script an interpreter runs, by what the process says of itself. Pure.

/// Variables in which web servers name a CGI program's script (RFC 3875 and PHP).
const VARIABLES: [&[u8]; 2] = [b"SCRIPT_FILENAME=", b"PATH_TRANSLATED="];

/// Interpreters, by the beginning of their names, with their options that take the next word for a
/// value, and those behind which there is no script but the program itself.
const INTERPRETERS: [(&str, &[&str], &[&str]); 7] = [
    (
        "php",
        &["-d", "-c", "-z", "-S", "-t"],
        &["-r", "-B", "-R", "-E"],
    ),
    ("python", &["-W", "-X"], &["-c", "-m"]),
    ("perl", &["-I", "-M", "-m"], &["-e", "-E"]),
    ("ruby", &["-I", "-r", "-C"], &["-e"]),
    (
        "node",
        &["-r", "--require"],
        &["-e", "-p", "--eval", "--print"],
    ),
    (
        "bash",
        &["-o", "+o", "-O", "--rcfile", "--init-file"],
        &["-c"],
    ),
    ("sh", &["-o", "+o"], &["-c"]),
];

/// The script that a process with this command line and this environment runs; none: it does not tell.
pub(super) fn of(words: &[String], environment: &[u8]) -> Option<String> {
    let named = |variable: &[u8]| {
        let mut variables = environment.split(|byte| *byte == 0);
        let value = variables.find_map(|entry| entry.strip_prefix(variable))?;
        (!value.is_empty()).then(|| String::from_utf8_lossy(value).into_owned())
    };
    VARIABLES
        .into_iter()
        .find_map(named)
        .or_else(|| in_words(words))
}

fn in_words(words: &[String]) -> Option<String> {
    let (program, mut rest) = words.split_first()?;
    let program = program.rsplit('/').next()?;
    let (_, with_value, inline) = INTERPRETERS.iter().find(|(name, ..)| {
        // `php8.2`, `python3`, `perl`; but not `php-fpm: pool alice`, nor `shred`.
        let version = program.strip_prefix(name);
        version.is_some_and(|v| v.bytes().all(|b| b.is_ascii_digit() || b == b'.'))
    })?;
    loop {
        let (word, behind) = rest.split_first()?;
        rest = if word == "--" || word == "-f" {
            return behind.first().cloned();
        } else if inline.contains(&word.as_str()) {
            return None;
        } else if with_value.contains(&word.as_str()) {
            behind.get(1..)?
        } else if word.starts_with(['-', '+']) {
            behind
        } else {
            return Some(word.clone());
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(line: &str) -> Option<String> {
        let words: Vec<_> = line.split(' ').map(ToOwned::to_owned).collect();
        of(&words, b"")
    }

    #[test]
    fn the_script_is_the_first_word_that_is_no_option() {
        for (line, expected) in [
            ("php /home/a/x.php now", Some("/home/a/x.php")),
            (
                "/usr/bin/php8.2 -d memory_limit=1G -q cron.php",
                Some("cron.php"),
            ),
            ("php -f mail.php", Some("mail.php")),
            ("/usr/bin/perl -w /tmp/.x/bot.pl", Some("/tmp/.x/bot.pl")),
            ("python3 -u -- spam.py", Some("spam.py")),
            ("python3 -m smtplib", None),
            ("php -r mail();", None),
            ("bash -c ./x", None),
            ("sh", None),
            ("shred x", None),
            ("php-fpm: pool alice", None),
            ("/opt/app --port 1", None),
        ] {
            assert_eq!(script(line).as_deref(), expected, "{line}");
        }
        assert_eq!(of(&[], b""), None);
    }

    #[test]
    fn a_web_server_tells_the_script() {
        let environment = b"PATH=/bin\0SCRIPT_FILENAME=/home/a/www/x.php\0NO_SCRIPT_FILENAME=/y\0";
        let words = ["/usr/lib/cgi-bin/php".to_owned()];
        assert_eq!(
            of(&words, environment).as_deref(),
            Some("/home/a/www/x.php")
        );
        assert_eq!(of(&words, b"SCRIPT_FILENAME=\0X"), None);
    }
}
