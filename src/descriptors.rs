//! The process' table of file descriptors.
//!
//! Linux makes the table twice as long whenever it is full. In a process of several threads whoever opens
//! the file that did not fit waits until no CPU can see the old table any more (`synchronize_rcu` in
//! `expand_fdtable` of the kernel's `fs/file.c`): 5 to 20 ms, in which a thread of the runtime stands
//! still with everything whose turn is there. That would happen while connections become many, which is
//! when it hurts most. While there is one thread nobody waits, and the table never becomes shorter.

/// Makes room for so many descriptors, or for as many as the system allows. To be called before there
/// is a second thread.
#[cfg(target_os = "linux")]
pub(crate) fn make_room(count: usize) {
    use std::io;
    use std::os::fd::AsFd;

    // The first that is refused shows how many are allowed.
    let held: Vec<_> = (0..count).map_while(|_| io::stdin().as_fd().try_clone_to_owned().ok()).collect();
    drop(held);
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn make_room(_count: usize) {}
