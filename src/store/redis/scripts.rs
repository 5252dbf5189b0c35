//! The scripts, each with what stands before it.

use super::shard::Script;

/// All of them. What each does, and its arguments, is told at its beginning.
#[derive(Debug)]
pub(super) struct Scripts {
    pub(super) accept: Script,
    pub(super) put_speech_request: Script,
    pub(super) reject: Script,
    pub(super) claim: Script,
    pub(super) settle: Script,
    pub(super) render: Script,
    pub(super) release: Script,
    pub(super) tick: Script,
    pub(super) put_callback: Script,
    pub(super) remove_callback: Script,
    pub(super) retry: Script,
    pub(super) replay: Script,
    pub(super) sweep: Script,
    pub(super) heads: Script,
    pub(super) erase_deliveries: Script,
    pub(super) erase_events: Script,
    pub(super) open: Script,
    pub(super) take_over: Script,
    pub(super) bring_up: Script,
    pub(super) index_turn: Script,
    pub(super) note_calls: Script,
    pub(super) index: Script,
    pub(super) found: Script,
    pub(super) put_job: Script,
    pub(super) claim_jobs: Script,
    pub(super) next_job: Script,
    pub(super) settle_job: Script,
    pub(super) hasten_job: Script,
    pub(super) keep_jobs: Script,
    pub(super) take_turn: Script,
    pub(super) standing: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        // What touches jobs, calls, or writes deliveries, has their rules before it.
        let of_jobs = |text: &str| Script::new(&[include_str!("jobs.lua"), text].concat());
        let of_many = |text: &str| [include_str!("each.lua"), text].concat();
        let of_calls = |text: &str| [include_str!("calls.lua"), text].concat();
        let of_deliveries = |text: &str| [include_str!("deliveries.lua"), text].concat();
        Self {
            accept: of_jobs(&of_calls(&of_deliveries(&of_many(include_str!("accept.lua"))))),
            put_speech_request: Script::new(&of_deliveries(include_str!("put_speech_request.lua"))),
            reject: Script::new(include_str!("reject.lua")),
            claim: Script::new(include_str!("claim.lua")),
            settle: Script::new(&of_many(include_str!("settle.lua"))),
            render: Script::new(include_str!("render.lua")),
            release: Script::new(include_str!("release.lua")),
            tick: of_jobs(include_str!("tick.lua")),
            put_callback: Script::new(include_str!("put_callback.lua")),
            remove_callback: Script::new(include_str!("remove_callback.lua")),
            retry: Script::new(include_str!("retry.lua")),
            replay: Script::new(include_str!("replay.lua")),
            sweep: of_jobs(&of_calls(include_str!("sweep.lua"))),
            heads: Script::new(include_str!("heads.lua")),
            erase_deliveries: Script::new(include_str!("erase_deliveries.lua")),
            erase_events: of_jobs(&of_calls(include_str!("erase_events.lua"))),
            open: Script::new(include_str!("open.lua")),
            take_over: Script::new(include_str!("take_over.lua")),
            bring_up: Script::new(include_str!("bring_up.lua")),
            index_turn: Script::new(include_str!("index_turn.lua")),
            note_calls: Script::new(&of_calls(include_str!("note_calls.lua"))),
            index: Script::new(include_str!("index.lua")),
            found: Script::new(include_str!("found.lua")),
            put_job: of_jobs(include_str!("put_job.lua")),
            claim_jobs: of_jobs(include_str!("claim_jobs.lua")),
            next_job: of_jobs(include_str!("next_job.lua")),
            settle_job: of_jobs(include_str!("settle_job.lua")),
            hasten_job: of_jobs(include_str!("hasten_job.lua")),
            keep_jobs: Script::new(include_str!("keep_jobs.lua")),
            take_turn: Script::new(include_str!("take_turn.lua")),
            standing: Script::new(include_str!("standing.lua")),
        }
    }
}
