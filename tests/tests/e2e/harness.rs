//! The tests' own tools, without flowguard: what they report must be true before anything is
//! concluded from it.

use std::{fs, path::Path};

use anyhow::{Result, ensure};
use flowguard_tests::{
    container::Container,
    docker::{self, Docker},
    lab::{Lab, UNGUARDED_PORT},
    mta::{Postfix, swaks},
    users::User,
};

#[test]
fn connections_arrive_where_they_were_sent() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let client = lab
        .client(User::named("www-data")?)?
        .count(100)
        .concurrency(4);
    client
        .to(&["198.18.0.1-198.18.0.10"])
        .run()?
        .all_connected(100)?;
    let six = lab
        .client(User::unnamed(1)?)?
        .to(&["2001:db8:1::1-2001:db8:1::5"]);
    six.count(50).run()?.all_connected(50)?;
    let mapped = lab.client(User::unnamed(1)?)?.to(&["::ffff:198.18.1.1"]);
    mapped
        .port(UNGUARDED_PORT)
        .count(3)
        .run()?
        .all_connected(3)?;
    sink.expect_accepted(153)?;
    assert_eq!(sink.accepted_on(25), 150);
    assert_eq!(sink.accepted_on(UNGUARDED_PORT), 3);
    assert_eq!(sink.addresses().len(), 16);
    Ok(())
}

#[test]
fn refused_and_lost_connections_are_told_apart() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let client = lab.client(User::named("nobody")?)?.count(5);
    client.clone().port(26).run()?.all_unanswered(5)?;
    lab.world()
        .ip(&["route add blackhole 100.64.0.1".to_owned()])?;
    let impatient = client.timeout(std::time::Duration::from_millis(100));
    impatient.run()?.all_timed_out(5)
}

#[test]
fn containers_reach_the_world_in_both_families_and_after_a_new_link() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let web = Container::new(&lab, "web", "fge0")?;
    let db = Container::unmanaged(&lab, "fge1")?;
    for client in [web.client(), web.hidden_client(), db.client()] {
        client.clone().count(5).run()?.all_connected(5)?;
        client
            .to(&["2001:db8:1::1"])
            .count(5)
            .run()?
            .all_connected(5)?;
    }
    web.unlink()?;
    ensure!(web.client().run()?.connected == 0, "there is no link");
    web.link()?;
    web.client().run()?.all_connected(1)?;
    sink.expect_accepted(31)
}

#[test]
fn a_burst_of_ten_thousand_arrives_without_loss() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let start = |user| {
        let client = lab
            .client(User::unnamed(user)?)?
            .to(&["198.18.0.1-198.18.0.9"]);
        client.count(2_000).concurrency(8).start()
    };
    let running: Vec<_> = (0..5).map(start).collect::<Result<_>>()?;
    for client in running {
        client.outcome()?.all_connected(2_000)?;
    }
    sink.expect_accepted(10_000)
}

#[test]
fn names_may_contain_what_terminals_obey() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let red = Container::new(&lab, "\u{1b}[31mr'\";--ed\u{202e}", "fge\u{1b}[31m")?;
    red.client().run()?.all_connected(1)
}

#[test]
fn a_lab_leaves_nothing_behind() -> Result<()> {
    let lab = Lab::new()?;
    let (cgroup, dir) = (lab.cgroups().root().to_owned(), lab.dir().to_owned());
    let web = Container::new(&lab, "web", "fge0")?;
    // Dropped with the processes still at work.
    let slow = web
        .client()
        .to(&["198.18.0.1"])
        .port(1)
        .count(1_000_000)
        .start()?;
    assert!(
        fs::read_to_string(cgroup.join("ct-web/cgroup.procs"))?
            .lines()
            .count()
            >= 2
    );
    drop((slow, web));
    drop(lab);
    assert!(!cgroup.exists() && !dir.exists());
    Ok(())
}

#[test]
fn docker_containers_reach_the_world_from_the_labs_cgroup() -> Result<()> {
    let lab = Lab::new()?;
    let sink = lab.sink()?;
    let engine = Docker::start(&lab)?;
    let id = engine.container("web")?;
    let cgroup = lab.cgroups().root().join(docker::CGROUP).join(&id);
    assert!(!fs::read_to_string(cgroup.join("cgroup.procs"))?.is_empty());
    engine
        .exec(&id, &["nc", "198.18.0.1", "25"])?
        .expect_code(0)?;
    engine
        .exec(&id, &["nc", "198.18.0.1", "26"])?
        .expect_code(1)?;
    sink.expect_accepted(1)?;
    drop(engine);
    let v1 =
        Path::new("/sys/fs/cgroup/memory").join(lab.cgroups().relative().trim_start_matches('/'));
    drop(lab);
    assert!(!cgroup.exists() && !v1.exists());
    Ok(())
}

#[test]
fn a_message_is_delivered() -> Result<()> {
    let lab = Lab::new()?;
    let postfix = Postfix::start(&lab)?;
    let place = lab.place("users")?.user(User::named("www-data")?);
    swaks(&place, "good news")?.expect_code(0)?;
    let messages = postfix.expect_messages(1)?;
    assert!(messages[0].contains("good news"), "{messages:?}");
    Ok(())
}
