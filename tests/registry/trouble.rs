//! What becomes of events while the registry is away, hangs or was made anew.

use anyhow::ensure;
use floodgate_schemas::EventType;
use floodgate_schemas::codec::schema_of;
use floodgate_testkit::{RegistryOptions, SchemaRegistry};

use crate::shared::{like, no_dead_letters, psql, subject, text, wait_likes, world};
use crate::support::answers::problem;
use crate::support::client::Ask;
use crate::support::world::{DRAINED, run};

/// Before it was there nothing is taken; from then on nobody needs it for what was known.
#[test]
fn a_registry_that_is_away_keeps_nothing_from_going_on() {
    let registry = SchemaRegistry::start(RegistryOptions::default()).unwrap();
    let world = world(&registry);
    run(|| {
        registry.stop()?;
        let serve = world.launch(&["serve"])?;
        serve.wait_unready("schema registry")?;
        let refused = serve.ask(&Ask::new("PUT", "/api/v6/characters/star-0/likes/ann"))?;
        problem(&refused, 503, "not-stored", None)?;
        ensure!(refused.text().contains("schema registry"), "{}", refused.text());
        registry.start_again()?;
        serve.wait_ready()?;
        // what nobody has read yet waits for the registry: for one that hangs as for one that is away
        like(&serve, 0, 50)?;
        registry.process()?.freeze()?;
        let consume = world.launch(&["consume"])?;
        consume.wait_unready("schema registry that tells it")?;
        no_dead_letters(&world)?;
        registry.process()?.thaw()?;
        wait_likes(&world, 50)?;
        consume.wait_ready()?;

        registry.stop()?;
        like(&serve, 50, 50)?;
        wait_likes(&world, 100)?;
        // a consumer that begins now knows the schemas from the one before
        consume.stop()?;
        let consume = world.start(&["consume"])?;
        like(&serve, 100, 50)?;
        wait_likes(&world, 150)?;
        // an ingress that begins now has no ids
        let second = world.launch(&["serve"])?;
        second.wait_unready("schema registry")?;
        registry.start_again()?;
        second.wait_ready()?;
        // one that does not answer is one that is away
        registry.process()?.freeze()?;
        let third = world.launch(&["serve"])?;
        third.wait_unready("schema registry")?;
        like(&second, 150, 50)?;
        wait_likes(&world, 200)?;
        registry.process()?.thaw()?;
        third.wait_ready()?;
        no_dead_letters(&world)?;
        for node in [&serve, &second, &third, &consume] {
            node.stop()?;
        }
        Ok(())
    });
}

/// Ids that count from one again are ids of other schemas: whoever trusts them makes dead letters of good events, or other values.
#[test]
fn a_registry_that_was_made_anew_is_noticed() {
    let registry = SchemaRegistry::start(RegistryOptions::default()).unwrap();
    let world = world(&registry);
    run(|| {
        let serve = world.start(&["serve"])?;
        let consume = world.start(&["consume"])?;
        like(&serve, 0, 20)?;
        wait_likes(&world, 20)?;
        consume.stop()?;
        like(&serve, 20, 20)?;

        // so that it is not the first to ask the new one
        serve.process().freeze()?;
        registry.forget()?;
        registry.start_again()?;
        // another program is first, so that the numbers of ours become each other's
        for of in [EventType::Like, EventType::Expectation, EventType::Coupon] {
            registry.register(&format!("another-{of}"), &text(schema_of(of)))?;
        }
        let consume = world.launch(&["consume"])?;
        consume.wait_unready("unknown schema")?;
        consume.process().wait_for_log("another schema than when", DRAINED)?;
        // nor does an ingress write under a number that was another schema's
        let second = world.launch(&["serve"])?;
        second.wait_unready("another schema")?;
        serve.process().thaw()?;
        serve.process().wait_for_log("another schema than when", DRAINED)?;
        like(&serve, 40, 20)?;
        no_dead_letters(&world)?;
        ensure!(psql(&world, "SELECT count(*) FROM likes")? == "20");
        let conflicts = consume.metrics()?.sum("floodgate_registry_conflicts_total", &[]);
        ensure!(conflicts > 0.0);

        // the former comes back
        serve.process().freeze()?;
        registry.forget()?;
        registry.start_again()?;
        for of in EventType::ALL {
            registry.register(&subject(&world, of), &text(schema_of(of)))?;
        }
        serve.process().thaw()?;
        wait_likes(&world, 60)?;
        second.wait_ready()?;
        consume.wait_ready()?;

        // it is lost for good: what waits is read by what is remembered, and then a new one is taken
        consume.stop()?;
        like(&serve, 60, 20)?;
        serve.stop()?;
        second.stop()?;
        registry.forget()?;
        registry.start_again()?;
        for of in [EventType::Coupon, EventType::Like, EventType::Expectation] {
            registry.register(&format!("another-{of}"), &text(schema_of(of)))?;
        }
        let url = registry.url();
        world.set("schema_registry.url", "http://127.0.0.1:1");
        let consume = world.start(&["consume"])?;
        wait_likes(&world, 80)?;
        consume.stop()?;
        psql(&world, "DELETE FROM registry_schemas")?;
        world.set("schema_registry.url", url);
        let (serve, _consume) = (world.start(&["serve"])?, world.start(&["consume"])?);
        like(&serve, 80, 20)?;
        wait_likes(&world, 100)?;
        no_dead_letters(&world)
    });
}
