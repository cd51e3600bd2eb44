//! The scene of the programs for bare targets (`tests/proof`), on every runtime. All compare their
//! logs with the same file.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use rappel_tests::on_every_runtime;

#[path = "../../proof/scene/scene.rs"]
mod scene;

const LOG: &str = include_str!("../../proof/scene/scene.log");

on_every_runtime! {
    async fn the_scene_gives_the_log_of_the_bare_targets(rt) {
        let written = Arc::new(Mutex::new(BTreeMap::<_, Vec<String>>::new()));
        let log = written.clone();
        let log: scene::Log = Arc::new(move |who, what| {
            log.lock()
                .unwrap()
                .entry(who)
                .or_default()
                .push(format!("{who}: {what}\n"))
        });
        scene::play(rt.clone(), log).await.unwrap();
        let written = std::mem::take(&mut *written.lock().unwrap());
        assert_eq!(written.into_values().flatten().collect::<String>(), LOG);
    }
}
