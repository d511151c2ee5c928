//! A terminal at which a test sits: it types, reads what is shown, and changes the size.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::pty::OpenptFlags;
use rustix::termios::{LocalModes, Winsize};

/// The terminal, and the program that was started at it.
#[derive(Debug)]
pub(crate) struct Screen {
    master: OwnedFd,
    child: Child,
    /// Shown and not looked at yet.
    shown: Vec<u8>,
}

/// How long something may take to show.
const PATIENCE: Duration = Duration::from_secs(30);

impl Screen {
    /// Starts `command` as the leader of a session at a new terminal of 24 rows and 80 columns.
    pub(crate) fn start(command: &Command) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).unwrap();
        // `setsid` makes the terminal that of the session, and becomes the program.
        let mut leader = Command::new("setsid");
        leader.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        leader.env_clear().current_dir(command.get_current_dir().unwrap());
        leader.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let stream = || slave.try_clone().unwrap();
        let child = leader.stdin(stream()).stdout(stream()).stderr(stream()).spawn().unwrap();
        let screen = Self { master, child, shown: Vec::new() };
        screen.resize(24, 80);
        screen
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&self.master, size).unwrap();
    }

    pub(crate) fn press(&self, keys: &str) {
        let mut master = std::fs::File::from(self.master.try_clone().unwrap());
        master.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until `text` is shown; gives what came before it.
    #[track_caller]
    pub(crate) fn until(&mut self, text: &str) -> String {
        let start = Instant::now();
        loop {
            if let Some(at) = self.shown.windows(text.len()).position(|part| part == text.as_bytes()) {
                let before: Vec<u8> = self.shown.drain(..at + text.len()).take(at).collect();
                return String::from_utf8_lossy(&before).into_owned();
            }
            let left = PATIENCE.saturating_sub(start.elapsed());
            let count = self.read(left).unwrap_or_default();
            let shown = String::from_utf8_lossy(&self.shown);
            assert!(count > 0, "`{text}` was not shown in time, or before the end: {shown:?}");
        }
    }

    /// Presses keys and reads until `text` is shown.
    #[track_caller]
    pub(crate) fn ask(&mut self, keys: &str, text: &str) -> String {
        self.press(keys);
        self.until(text)
    }

    /// Whether what is typed is passed on at once and not shown.
    pub(crate) fn is_raw(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.master).unwrap().local_modes;
        !modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    /// Whether it is as it was made.
    pub(crate) fn is_cooked(&self) -> bool {
        let modes = rustix::termios::tcgetattr(&self.master).unwrap().local_modes;
        modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }

    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_raw(self.child.id().cast_signed()).unwrap()
    }

    /// Reads until the program has ended; gives its status and what was shown last. The terminal must be as it was made.
    #[track_caller]
    pub(crate) fn end(mut self) -> (i32, String) {
        while self.read(PATIENCE).unwrap() > 0 {}
        let status = self.child.wait().unwrap();
        let status = std::os::unix::process::ExitStatusExt::signal(&status)
            .map_or_else(|| status.code().unwrap(), |signal| 128 + signal);
        assert!(self.is_cooked(), "the terminal is left in another mode");
        (status, String::from_utf8_lossy(&self.shown).into_owned())
    }

    /// Reads what is there, and waits for something; 0 where nobody is at the terminal any more.
    fn read(&mut self, patience: Duration) -> io::Result<usize> {
        let left = Timespec::try_from(patience).unwrap();
        let mut fds = [PollFd::from_borrowed_fd(self.master.as_fd(), PollFlags::IN)];
        if rustix::event::poll(&mut fds, Some(&left))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut piece = vec![0; 1 << 16];
        match std::fs::File::from(self.master.try_clone()?).read(&mut piece) {
            Ok(count) => {
                self.shown.extend(&piece[..count]);
                Ok(count)
            }
            Err(err) if err.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Ok(0),
            Err(err) => Err(err),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Where a test has failed in between.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
