//! Deliveries on their way: the client, the outcome of an attempt, the schedule of the next, the
//! worker that drives them. Never sees a template.
