//! One whole SMTP session of a real client with a real server, and none when it is blocked.

use anyhow::Result;
use flowguard_tests::{
    config::Config,
    feature,
    guard::Guard,
    lab::Lab,
    mta::{Postfix, swaks},
    users::User,
};

use crate::WWW;

#[test]
fn a_message_is_delivered_and_a_blocked_one_is_not() -> Result<()> {
    let lab = Lab::new()?;
    let postfix = Postfix::start(&lab)?;
    let guard = Guard::start(&lab, &Config::enforce(&lab))?;
    let place = lab.place("users")?.user(User::named(WWW.0)?);
    swaks(&place, "the first message")?.expect_code(0)?;
    let messages = postfix.expect_messages(1)?;
    assert!(messages[0].contains("the first message"), "{messages:?}");
    let totals = guard.expect_attempts(WWW.1, "direct", 1)?;
    assert_eq!((totals.denied, totals.destinations), (0, 1));
    guard.ok(&["block", WWW.1])?;
    let refused = swaks(&place, "the second message")?.expect_code(2)?;
    assert!(
        format!("{refused}").contains(feature::refusal()?),
        "{refused}"
    );
    let totals = guard.expect_attempts(WWW.1, "direct", 2)?;
    assert_eq!(totals.denied, 1);
    guard.ok(&["unblock", WWW.1])?;
    swaks(&place, "the third message")?.expect_code(0)?;
    let messages = postfix.expect_messages(2)?;
    assert!(
        !messages.concat().contains("the second message"),
        "{messages:?}"
    );
    assert_eq!(postfix.log()?.matches(" connect from ").count(), 2);
    guard.expect_sum(3)
}
