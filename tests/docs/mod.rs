//! The pages for those who use Ringback do what they say.

mod first_callback;
mod page;
mod receivers;
