//! What the program is connected to.

use super::super::report::Told;
use crate::sandbox::Terminal;

#[derive(Debug, clap::Args)]
pub(super) struct TerminalArgs {
    /// Connect standard input, which is empty otherwise
    #[arg(short, long)]
    interactive: bool,

    /// Give the program a terminal of its own
    #[arg(short, long)]
    tty: bool,

    /// Let a small process be the container's first, which passes signals on to the program and reaps what it leaves; without it the
    /// program is the first one itself
    #[arg(long)]
    pub(super) init: bool,

    /// Remove the container when it has ended, which is always done
    #[arg(long)]
    rm: bool,

    // Docker's; the message says what there is in its place.
    #[arg(short, long, hide = true)]
    detach: bool,
}

impl TerminalArgs {
    /// What they ask for.
    pub(super) fn terminal(&self) -> Result<Terminal, Told> {
        if self.detach {
            return Err(Told::new(
                "containers do not run in the background: there is no daemon that would keep one (`--detach`)",
                "end the line with `&`; or let `podman run --detach` have it, with the handlers of `polyarch binfmt register`",
            ));
        }
        Ok(Terminal { interactive: self.interactive, tty: self.tty })
    }
}
