//! Services of systemd, where a pattern makes sources of them.

use anyhow::Result;
use flowguard_tests::{config::Config, guard::Guard, lab::Lab, users::User};

use crate::WWW;

#[test]
fn services_of_one_user_are_told_apart() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let config = Config::observe(&lab)
        .containers("system.slice/{name}.service")
        .called("{name}.service");
    let guard = Guard::start(&lab, &config)?;
    let user = User::named(WWW.0)?;
    let service = |name: &str| -> Result<_> {
        let place = lab.place(&format!("system.slice/{name}"))?.user(user);
        Ok(lab.client_in(place))
    };
    let shop = service("web\\x2dshop.service")?;
    let blog = service("blog.service")?;
    guard.await_registered("container:web-shop.service")?;
    guard.await_registered("container:blog.service")?;
    shop.count(2).run()?.all_connected(2)?;
    blog.count(3).run()?.all_connected(3)?;
    // What a service makes below its own cgroup is the service.
    service("blog.service/other.service")?
        .run()?
        .all_connected(1)?;
    lab.client(user)?.run()?.all_connected(1)?;
    guard.expect_attempts("container:web-shop.service", "direct", 2)?;
    guard.expect_attempts("container:blog.service", "direct", 4)?;
    guard.expect_attempts(WWW.1, "direct", 1)?;
    guard.ok(&["block", "container:blog.service"])?;
    service("blog.service")?.run()?.all_refused(1)?;
    service("web\\x2dshop.service")?.run()?.all_connected(1)?;
    guard.expect_sum(9)
}
