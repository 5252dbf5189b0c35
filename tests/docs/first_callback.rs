//! The tutorial, command by command as it is printed; only the two ports are others, which may be
//! taken on this machine.

use std::io::{BufRead, BufReader, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use super::page::{blocks, fits};
use crate::support::free_port;

const PAGE: &str = include_str!("../../src/docs/first_callback.md");

/// A shell that is told commands one by one, with everything that it started.
struct Shell {
    child: Child,
    stdin: ChildStdin,
    output: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Shell {
    fn start(folder: &Path) -> Self {
        let binaries = Path::new(env!("CARGO_BIN_EXE_ringback")).parent().unwrap();
        let path = format!("{}:{}", binaries.display(), std::env::var("PATH").unwrap());
        let mut child = Command::new("bash")
            .args(["--noprofile", "--norc"])
            .current_dir(folder)
            .env("PATH", path)
            .env_remove("RINGBACK_URL")
            .env_remove("RINGBACK_TOKEN")
            .env_remove("RINGBACK_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let stdin = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, stdin, output }
    }

    /// Runs commands and gives what they print; all must go well.
    fn run(&mut self, commands: &str) -> String {
        const END: &str = "the end of this command: ";
        writeln!(self.stdin, "{commands}echo \"{END}$?\"").unwrap();
        let mut printed = String::new();
        for line in self.output.by_ref() {
            let line = line.unwrap();
            if let Some((before, code)) = line.split_once(END) {
                printed.push_str(before);
                assert_eq!(code, "0", "{commands}\n{printed}");
                return printed;
            }
            printed.push_str(&line);
            printed.push('\n');
        }
        panic!("the shell ended in\n{commands}\n{printed}");
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // Its group is what it started and itself.
        let group = format!("-{}", self.child.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn the_tutorial_is_executed_as_printed() {
    let folder = tempfile::tempdir().unwrap();
    let ports = [("8080", free_port().to_string()), ("9000", free_port().to_string())];
    let page = ports.iter().fold(PAGE.to_owned(), |page, (printed, port)| page.replace(printed, port));
    // What is at the default address is asked where the page says nothing else.
    let url = format!("http://127.0.0.1:{}", ports[0].1);
    let mut shell = Shell::start(folder.path());
    shell.run(&format!("export RINGBACK_LISTEN=127.0.0.1:{} RINGBACK_URL={url}\n", ports[0].1));
    let (mut output, mut commands) = (String::new(), 0);
    for block in blocks(&page) {
        match block.language {
            "sh" => {
                output = shell.run(block.text);
                commands += 1;
            }
            "text" => assert!(fits(block.text, &output), "printed\n{}and there was\n{output}", block.text),
            other => panic!("a block of {other}, which nobody executes"),
        }
    }
    assert_eq!(commands, 8);
    assert!(page.contains("Eight commands"));
}
