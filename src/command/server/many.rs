//! What is done to many things, bit by bit: each request does some, and says where to go on.

use std::io;

use serde_json::{Value, json};

use super::{Failure, Sent, Session, text};
use crate::command::Console;
use crate::context::Json;

/// What was passed over for one reason.
struct Skipped {
    reason: String,
    count: u64,
    /// The first of them, and what there is to say of it.
    first: String,
    detail: String,
}

impl Session<'_> {
    /// Posts the request until all is done, and shows how many that were; `verb` is what the answers
    /// count them by. Where it breaks off, it says how to go on, so that nothing is done once more
    /// that was done.
    pub(in crate::command) async fn go_through(
        &mut self,
        path: &[&str],
        mut request: Value,
        mut cursor: Option<String>,
        verb: &'static str,
    ) -> Result<(), Failure> {
        let mut done = 0_u64;
        let mut skipped = Vec::new();
        loop {
            if let Some(cursor) = &cursor {
                request["cursor"] = cursor.as_str().into();
            }
            let answer = match self.send("POST", path, &Sent::made(&request)).await {
                Ok(answer) => answer,
                Err(failure) => {
                    self.progress("");
                    if let Some(cursor) = cursor.filter(|_| done > 0) {
                        let cursor = text::line(&cursor);
                        let err = &mut self.console.err;
                        writeln!(err, "{done} {verb} before it broke off; --cursor {cursor} goes on")?;
                    }
                    return Err(failure);
                }
            };
            done += number(&answer, verb).ok_or_else(|| self.foreign())?;
            for entry in answer.get("skipped").and_then(Json::as_array).unwrap_or_default() {
                add(entry, &mut skipped);
            }
            match answer.get("next").and_then(Json::as_str) {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
            self.progress(&format!("{done} {verb} …"));
        }
        self.progress("");
        let total = json!({verb: done, "skipped": skipped.iter().map(Skipped::to_json).collect::<Value>()});
        let total = Json::parse(total.to_string().as_bytes()).expect("it was just written");
        self.show(&total, |_, console| {
            writeln!(console.out, "{done} {verb}")?;
            skipped.iter().try_for_each(|skipped| skipped.draw(console))
        })
    }
}

fn number(json: &Json, name: &str) -> Option<u64> {
    json.get(name)?.to_text().parse().ok()
}

/// Counts what a part skipped with what the parts before skipped for the same reason.
fn add(entry: &Json, skipped: &mut Vec<Skipped>) {
    let of = |name| text::of(entry, name);
    let (reason, count) = (of("reason"), number(entry, "count").unwrap_or(1));
    match skipped.iter_mut().find(|skipped| skipped.reason == reason) {
        Some(skipped) => skipped.count += count,
        None => skipped.push(Skipped { reason, count, first: of("first"), detail: of("detail") }),
    }
}

impl Skipped {
    fn to_json(&self) -> Value {
        json!({"reason": self.reason, "count": self.count, "first": self.first, "detail": self.detail})
    }

    fn draw(&self, console: &mut Console<'_>) -> io::Result<()> {
        let Self { reason, count, first, detail } = self;
        let line = format!("{count} skipped, {reason}: {first}: {detail}");
        writeln!(console.out, "{}", text::line(&line))
    }
}
