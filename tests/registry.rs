//! With a schema registry: the main job, and what becomes of events while the registry is away, slow, made anew or says something
//! that this build cannot read.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "registry/others.rs"]
mod others;
#[path = "registry/shared.rs"]
mod shared;
mod support;
#[path = "registry/trouble.rs"]
mod trouble;

use std::collections::BTreeSet;
use std::sync::Arc;

use anyhow::ensure;
use floodgate_schemas::EventType;
use floodgate_testkit::{Certificates, RegistryIds, RegistryOptions, SchemaRegistry, ScratchDir};
use shared::{id_of, like, no_dead_letters, psql, world};
use support::load::LoadOptions;
use support::node::Node;
use support::plan::{Plan, PlanSize, seed};
use support::topic::Topics;
use support::world::{DRAINED, Servers, World, is_redis, run};

fn main_job(ids: RegistryIds) {
    let registry = SchemaRegistry::start(RegistryOptions { ids, ..RegistryOptions::default() }).unwrap();
    let world = world(&registry);
    run(|| {
        let serve = world.start(&["serve"])?;
        let consumes = [world.start(&["consume"])?, world.start(&["consume"])?];
        let plan = Arc::new(Plan::mixed(seed(), PlanSize::about(2000)));
        world.create_coupons(&serve, &plan)?;
        let recording = world.load(&plan, &[&serve], LoadOptions::default()).finish()?;
        world.check(&Servers::shared().postgres, &recording)?;
        for of in EventType::ALL {
            let id = id_of(&registry, &world, of)?;
            let records = Topics::of(&world).read_all(&world.named(of.topic()))?;
            let beginnings: BTreeSet<_> = records
                .iter()
                .filter_map(|record| record.value.as_deref()?.first_chunk::<5>().copied())
                .collect();
            let [a, b, c, d] = id.to_be_bytes();
            // lists have no longer what is applied
            let is_ours =
                is_redis() && beginnings.is_empty() || beginnings == BTreeSet::from([[0, a, b, c, d]]);
            ensure!(is_ours, "{of}: {beginnings:?}, not {id}");
        }
        ensure!(psql(&world, "SELECT count(*) FROM registry_schemas")? == "3");
        let report = world.succeed(&["verify", "--values"])?;
        ensure!(is_redis() || !report.contains("unchecked"), "{report}");
        no_dead_letters(&world)?;
        consumes.iter().try_for_each(Node::stop)?;
        serve.stop()
    });
}

#[test]
fn the_main_job_with_ids_of_contents() {
    main_job(RegistryIds::Contents);
}

#[test]
fn the_main_job_with_ids_of_versions() {
    main_job(RegistryIds::Versions);
}

/// Events in memory name their schemas like any others.
#[test]
fn one_process_does_it_all_with_a_registry() {
    let registry = SchemaRegistry::start(RegistryOptions::default()).unwrap();
    let world = World::empty().unwrap();
    run(|| {
        world.set("schema_registry.url", registry.url());
        let mut node = world.start(&["run"])?;
        like(&node, 0, 5)?;
        node.probe("one", DRAINED)?;
        // and again, with what the database remembers
        node.stop()?;
        node.start_again(&world)?;
        node.probe("two", DRAINED)?;
        ensure!(node.metrics()?.sum("floodgate_registry_schemas", &[("state", "readable")]) == 1.0);
        node.stop()
    });
}

/// By TLS, as whoever this machine trusts, and by names that only it has.
#[test]
fn the_registry_is_asked_by_tls() {
    let scratch = ScratchDir::new("certificates").unwrap();
    let certificates = Certificates::make(scratch.path()).unwrap();
    let authority = certificates.authority.display().to_string();
    let registry =
        SchemaRegistry::start(RegistryOptions { tls: Some(certificates), ..RegistryOptions::default() })
            .unwrap();
    let world = world(&registry);
    run(|| {
        world.set("schema_registry.url", format!("http://127.0.0.1:1, {}", registry.tls_url()));
        let serve = world.launch(&["serve"])?;
        serve.wait_unready("certificate")?;
        serve.stop()?;
        world.set_variable("SSL_CERT_FILE", authority);
        let serve = world.start(&["serve"])?;
        like(&serve, 0, 3)?;
        serve.stop()
    });
}
