//! Pages for those who use Ringback. What they print is executed by the tests (`tests/docs`).

pub mod first_callback {
    #![doc = include_str!("first_callback.md")]
}

pub mod receivers {
    #![doc = include_str!("receivers.md")]
}
