//! Ringback receives the webhooks of speech and telephony providers, keeps them, puts together
//! what is known of each call, renders the JSON template that each customer registered, and
//! delivers it: at least once, signed, retried.
//!
//! # Code map
//!
//! In the order in which data flows:
//!
//! | room | what happens there |
//! | --- | --- |
//! | `main`, [`command`] | the command line: `serve`, `demo`, `check`, `render`, `verify`, `placeholders`, `token`, `store`; `callbacks`, `deliveries`, `events`, `calls` at a running server |
//! | [`assembly`] | builds every room from the settings and joins them; alone imports all |
//! | [`config`] | typed settings; every problem at once; the only reader of the environment |
//! | [`telemetry`], [`metric`], [`shutdown`] | the log; what is counted, for Prometheus; signals and the drain |
//! | `descriptors` | room for connections, made before there are any |
//! | [`http`] | the accept loop, capped bodies, answers and problems, shared by the next two |
//! | [`intake`] | provider-facing: raw bytes → verified → event → one durable write → 200 |
//! | [`job`] | speech jobs: submitted, polled, fetched; what they make goes to `intake` |
//! | [`speech_request`] | calls searched, transcribed and delivered at a token's request |
//! | [`api`] | customer-facing: registrations, speech requests, previews, deliveries |
//! | [`console`] | the page: what came in, what went out, templates tried |
//! | [`signature`] | schemes that verify and sign; secrets that never print |
//! | [`provider`] | one adapter a file: verified request → event; how it is asked; presets |
//! | [`stand_in`] | servers in the place of providers that are asked, for the demo and the tests |
//! | [`event`] | normalised events, and ids |
//! | [`context`] | call, speech, user, campaign, lead; the catalogue of names; foreign JSON |
//! | [`filter`] | which events a registration wants, and which calls a search finds |
//! | [`registration`] | callbacks, which of them an event concerns, and what they send |
//! | [`template`] | grammar → tree → program → bytes; no I/O, no clock |
//! | [`store`] | the contract of durability; the scheduler; the embedded store, and the one in Redis |
//! | [`delivery`] | the client, the outcome, the schedule of the next attempt, the worker |
//! | [`destination`] | which URLs may be registered and which addresses dialled |
//! | `escape` | text as the content of JSON strings; the only room that allows `unsafe` |
//! | [`docs`] | pages for those who use Ringback: the first callback, receivers |
//! | [`limit`], [`network`], [`quantity`] | rates; ranges of addresses; how durations and sizes are spelt |
//!
//! # Invariants
//!
//! - Nothing is answered with 200 before the event, its call's context and every delivery that it
//!   causes are durable, in one atomic write ([`store::Store::accept`]).
//! - An attempt's outcome and what happens next are one atomic write ([`store::Store::settle`]).
//! - Trust is a type: capped bytes, then [`signature::Verified`], then [`event::Event`]; a
//!   connection takes a [`destination::CheckedAddress`] and nothing else.
//! - A delivery is bytes, the same on every attempt and durable before the first: [`delivery`] sees
//!   no template. What is too much to render with its event is rendered at the first attempt by
//!   [`registration`], from a snapshot of what was known and the definition of then
//!   ([`store::Store::put_rendering`]).
//! - Secrets and personal data reach no log line; what prints is the id.
//! - Imports point one way (`tests/house`).
//!
//! # Deliberately absent
//!
//! - A database server, a message broker, a cache, where one machine is enough: one process and
//!   one file. Several share a Redis, or a Redis Cluster.
//! - Loops, conditions and code in templates: a template is data.
//! - Redirects, decompression of responses, cookies: the client sends and listens, no more.
//! - A crate-wide error type: each room says what can go wrong in it; `http` maps it to answers.

pub mod api;
pub mod assembly;
pub mod command;
pub mod config;
pub mod console;
pub mod context;
pub mod delivery;
mod descriptors;
pub mod destination;
pub mod docs;
mod escape;
pub mod event;
pub mod filter;
pub mod http;
pub mod intake;
pub mod job;
pub mod limit;
pub mod metric;
pub mod network;
pub mod provider;
pub mod quantity;
pub mod registration;
pub mod shutdown;
pub mod signature;
pub mod speech_request;
pub mod stand_in;
pub mod store;
pub mod telemetry;
pub mod template;
