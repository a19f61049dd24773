//! Every step of start-up, adoption and replacement fails once and is killed once. Whatever step it
//! is: what is attached goes on counting and refusing, and the next start finds its way.

use anyhow::{Context as _, Result, ensure};
use flowguard_tests::{
    client::Client,
    config::Config,
    container::Container,
    guard::{Guard, Layout},
    lab::Lab,
    users::User,
};

use crate::{GAMES, WWW};

/// A container's source and the end of its link.
const WEB: (&str, &str) = ("container:web", "fge0");

/// How a step ends.
#[derive(Clone, Copy, Debug)]
enum End {
    Failed,
    Killed,
}

impl End {
    /// What `FAILPOINTS` has to say so that a step ends when it is made after `before` others like
    /// it.
    fn at(self, step: &str, before: u32) -> String {
        let word = match self {
            Self::Failed => "error",
            Self::Killed => "kill",
        };
        format!("{step}={before}*off->return({word})")
    }

    /// Starts a daemon that ends so; false: it was never at that step, and runs.
    fn inflict(self, guard: &mut Guard<'_>, step: &str, before: u32) -> Result<bool> {
        let Some(ended) = guard.start_with_failpoints(&self.at(step, before))? else {
            return Ok(false);
        };
        match self {
            Self::Failed => {
                let ended = ended.expect_code(1)?;
                let told = format!("made to fail after the step `{step}`");
                ensure!(ended.stderr.contains(&told), "{ended}");
            }
            Self::Killed => {
                ended.expect_code(128 + 9)?;
            }
        }
        Ok(true)
    }
}

/// The steps there are, which the program tells.
fn steps(guard: &Guard<'_>) -> Result<Vec<String>> {
    let list = guard
        .ok(&["failpoints"])
        .context("the program was built without failpoints: run `cargo xtask test`")?;
    Ok(list.lines().map(str::to_owned).collect())
}

/// A guard with one who is free, one who is blocked, and one who is seen at the edge only, and how
/// many connections each of them made.
struct Scene<'lab> {
    guard: Guard<'lab>,
    free: Client,
    blocked: Client,
    hidden: Client,
    made: [u64; 3],
}

/// Connections of each of them while a daemon ends: a quarter of a second of them.
const MEANWHILE: [u64; 3] = [400, 100, 200];

impl<'lab> Scene<'lab> {
    fn new(lab: &'lab Lab, web: &Container<'_>) -> Result<Self> {
        let guard = Guard::start(lab, &Config::observe(lab).sized(64, 16))?;
        guard.await_edge(WEB.1)?;
        guard.await_identity(WEB.0, "edge fge0")?;
        let of = |name| -> Result<Client> { lab.client(User::named(name)?) };
        let scene = Self {
            free: of(WWW.0)?.to(&["198.18.0.1-198.18.0.9"]),
            blocked: of(GAMES.0)?,
            hidden: web.hidden_client(),
            made: [1; 3],
            guard,
        };
        scene.guard.ok(&["block", GAMES.1])?;
        scene.blocked.run()?.all_refused(1)?;
        scene.free.run()?.all_connected(1)?;
        scene.hidden.run()?.all_connected(1)?;
        scene.check()?;
        Ok(scene)
    }

    /// Ends daemons under load until one does not pass this step any more.
    fn inflict(&mut self, end: End, step: &str, before: u32) -> Result<bool> {
        let start = |client: &Client, count| {
            let rate = u32::try_from(count * 4)?;
            client.clone().count(count).per_second(rate).start()
        };
        let [free, blocked, hidden] = MEANWHILE;
        let load = (
            start(&self.free, free)?,
            start(&self.blocked, blocked)?,
            start(&self.hidden, hidden)?,
        );
        let reached = end.inflict(&mut self.guard, step, before)?;
        load.0.outcome()?.all_connected(free)?;
        load.1.outcome()?.all_refused(blocked)?;
        load.2.outcome()?.all_connected(hidden)?;
        for (made, more) in self.made.iter_mut().zip(MEANWHILE) {
            *made += more;
        }
        if reached {
            self.check_offline()?;
        }
        Ok(reached)
    }

    /// What the maps say without a daemon.
    fn check_offline(&self) -> Result<()> {
        let sources = self.guard.sources_offline()?;
        for ((source, made), denied) in
            [WWW.1, GAMES.1, WEB.0]
                .into_iter()
                .zip(self.made)
                .zip([0, self.made[1], 0])
        {
            let found = flowguard_tests::expect::totals(&sources, source, "direct");
            ensure!(
                (found.attempts, found.denied) == (made, denied),
                "expected {made} attempts of {source}, found {found:?}"
            );
        }
        let all = sources.iter().flat_map(|source| source.classes.values());
        let sum: u64 = all.map(|totals| totals.attempts).sum();
        ensure!(
            sum == self.made.iter().sum::<u64>(),
            "{sum} in all: {sources:#?}"
        );
        Ok(())
    }

    /// What the daemon says.
    fn check(&self) -> Result<()> {
        let [free, blocked, hidden] = self.made;
        self.guard.expect_attempts(WWW.1, "direct", free)?;
        let refused = self.guard.expect_attempts(GAMES.1, "direct", blocked)?;
        ensure!(refused.denied == blocked, "{refused:?}");
        self.guard.expect_attempts(WEB.0, "direct", hidden)?;
        self.guard.expect_sum(free + blocked + hidden)
    }
}

/// Walks all steps of a start. There are two layouts, which `choose` makes the guard use; each start
/// is to change from one to the other. The steps that no such start makes have to be those that are
/// named.
fn walk(
    scene: &mut Scene<'_>,
    choose: impl Fn(&mut Guard<'_>, usize) -> Result<()>,
    never: &[&str],
) -> Result<()> {
    let (mut layout, mut back) = (0, false);
    let mut unreached = Vec::new();
    for step in steps(&scene.guard)? {
        // A step that is made several times is killed at another of them than it fails at.
        for (end, before) in [(End::Failed, 0), (End::Killed, 1), (End::Killed, 0)] {
            let what = || format!("{end:?} at {step}, after {before} of them, from {layout}");
            scene.guard.terminate()?;
            choose(&mut scene.guard, 1 - layout)?;
            let reached = scene.inflict(end, &step, before).with_context(what)?;
            if reached {
                back = !back;
                if back {
                    choose(&mut scene.guard, layout)?;
                }
                scene.guard.restart().with_context(what)?;
            }
            scene.check().with_context(what)?;
            if !reached || !back {
                layout = 1 - layout;
            }
            match (end, before, reached) {
                (End::Failed, _, false) => {
                    unreached.push(step.clone());
                    break;
                }
                (End::Killed, 1, true) => break,
                _ => {}
            }
        }
    }
    ensure!(unreached == never, "never reached: {unreached:?}");
    Ok(())
}

/// Steps of attaching devices: a daemon that answers already makes them.
const LATER: [&str; 3] = ["device-led", "device-attached", "device-settled"];

#[test]
fn an_adoption_that_fails_at_any_step_changes_nothing() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let mut scene = Scene::new(&lab, &web)?;
    let never = [
        "leftover-removed",
        "folder-made",
        "map-shared",
        "maps-made",
        "map-copied",
        "in-force",
        "device-replaced",
        "programs-ended",
        "map-followed",
        "counters-carried",
        "exchanged",
        "old-removed",
    ];
    walk(&mut scene, |_, _| Ok(()), &[&never[..], &LATER].concat())
}

#[test]
fn a_replacement_by_another_size_may_fail_at_any_step() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let mut scene = Scene::new(&lab, &web)?;
    let sizes = [(64, 16), (128, 32)];
    let choose = |guard: &mut Guard<'_>, layout: usize| {
        let (sources, edges) = sizes[layout];
        guard.configure(&Config::observe(&lab).sized(sources, edges).to_string())
    };
    walk(
        &mut scene,
        choose,
        &["leftover-removed", "in-force", LATER[0], LATER[1], LATER[2]],
    )
}

#[test]
fn a_replacement_by_another_layout_may_fail_at_any_step() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let mut scene = Scene::new(&lab, &web)?;
    let layouts = [Layout::Own, Layout::Grown];
    let choose = |guard: &mut Guard<'_>, layout: usize| guard.use_layout(layouts[layout]);
    // No map that programs write is larger but counters.
    let never = ["leftover-removed", "in-force", "map-followed"];
    walk(&mut scene, choose, &[&never[..], &LATER].concat())
}

#[test]
fn a_first_start_may_fail_at_any_step() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let mut guard = Guard::stopped(&lab, &Config::observe(&lab).sized(64, 16))?;
    let www = lab.client(User::named(WWW.0)?)?.count(3);
    let mut unreached = Vec::new();
    for step in steps(&guard)? {
        for end in [End::Failed, End::Killed] {
            if end.inflict(&mut guard, &step, 0)? {
                guard.restart()?;
            } else if !unreached.contains(&step) {
                unreached.push(step.clone());
            }
            www.run()?.all_connected(3)?;
            guard.expect_attempts(WWW.1, "direct", 3)?;
            guard.expect_sum(3)?;
            guard.terminate()?;
            guard.ok(&["detach"])?;
            ensure!(
                !lab.pins().exists(),
                "detach after {end:?} at {step} left pins"
            );
        }
    }
    let never = [
        "leftover-removed",
        "map-shared",
        "map-copied",
        "device-replaced",
        "programs-ended",
        "map-followed",
        "counters-carried",
        "exchanged",
        "old-removed",
    ];
    ensure!(
        unreached == [&never[..], &LATER].concat(),
        "never reached: {unreached:?}"
    );
    Ok(())
}

#[test]
fn clearing_up_may_fail_as_well() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let mut scene = Scene::new(&lab, &web)?;
    for end in [End::Failed, End::Killed] {
        scene.guard.terminate()?;
        let larger = Config::observe(&lab).sized(128, 16);
        scene.guard.configure(&larger.to_string())?;
        ensure!(scene.inflict(End::Killed, "maps-made", 0)?);
        ensure!(scene.inflict(end, "leftover-removed", 0)?);
        let smaller = Config::observe(&lab).sized(64, 16);
        scene.guard.configure(&smaller.to_string())?;
        scene.guard.restart()?;
        scene.check()?;
    }
    Ok(())
}

#[test]
fn detach_takes_both_sets_of_maps_along() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let mut scene = Scene::new(&lab, &web)?;
    scene.guard.terminate()?;
    scene.guard.use_layout(Layout::Grown)?;
    // One program counts in the new maps, the others in the old ones.
    ensure!(scene.inflict(End::Killed, "cgroup-attached", 1)?);
    scene.guard.use_layout(Layout::Own)?;
    scene.check_offline()?;
    scene.guard.ok(&["detach"])?;
    ensure!(!lab.pins().exists(), "pins are left");
    scene.blocked.run()?.all_connected(1)?;
    Ok(())
}

#[test]
fn a_daemon_may_die_at_any_step_of_guarding_a_device() -> Result<()> {
    let lab = Lab::new()?;
    let _sink = lab.sink()?;
    let web = Container::new(&lab, "web", WEB.1)?;
    let mut guard = Guard::stopped(&lab, &Config::observe(&lab).sized(64, 16))?;
    let client = web.client().count(50);
    for (round, step) in LATER.iter().enumerate() {
        let points = End::Killed.at(step, 0);
        let ended = match guard.start_with_failpoints(&points)? {
            Some(ended) => ended,
            None => guard.await_end()?,
        };
        ended.expect_code(128 + 9)?;
        client.run()?.all_connected(50)?;
        guard.restart()?;
        guard.await_edge(WEB.1)?;
        guard.await_identity(WEB.0, "edge fge0")?;
        client.run()?.all_connected(50)?;
        web.hidden_client().count(10).run()?.all_connected(10)?;
        let made = 110 * (round as u64 + 1);
        guard.expect_attempts(WEB.0, "direct", made)?;
        guard.expect_sum(made)?;
        guard.terminate()?;
    }
    Ok(())
}
