//! Where a person's lines come from and where answers go: an editor on a terminal, else plain
//! standard input and output.

use std::io::IsTerminal as _;

use rustyline::error::ReadlineError;
use rustyline::{DefaultEditor, ExternalPrinter};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::sync::mpsc;

use crate::screen;

/// Lines that wait while the chat is busy; then the reader waits too.
const LINES_WAITING_MAX: usize = 16;

/// The lines, and the way to print between them.
pub(super) struct Terminal {
    lines: mpsc::Receiver<String>,
    /// Lets the editor read one more line. It reads none unasked: a process that ends while it
    /// reads leaves the terminal in a state that no shell expects.
    ask: mpsc::Sender<()>,
    is_asked: bool,
    printer: Option<Box<dyn ExternalPrinter + Send>>,
    pub(super) is_interactive: bool,
}

impl Terminal {
    /// The one that this process has.
    pub(super) fn open() -> anyhow::Result<Self> {
        let (sender, lines) = mpsc::channel(LINES_WAITING_MAX);
        let (ask, asked) = mpsc::channel(1);
        let is_interactive = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let printer: Option<Box<dyn ExternalPrinter + Send>> = if is_interactive {
            let mut editor = DefaultEditor::new()?;
            let printer = editor.create_external_printer()?;
            std::thread::spawn(move || edit(editor, &sender, asked));
            Some(Box::new(printer))
        } else {
            tokio::spawn(read(sender));
            None
        };
        Ok(Self {
            lines,
            ask,
            is_asked: false,
            printer,
            is_interactive,
        })
    }

    /// The next line; `None` at the end. Cancel-safe.
    pub(super) async fn next_line(&mut self) -> Option<String> {
        if !std::mem::replace(&mut self.is_asked, true) {
            // Nobody takes it when nobody edits.
            self.ask.try_send(()).ok();
        }
        let line = self.lines.recv().await;
        self.is_asked = false;
        line
    }

    /// Waits until the terminal is as the shell expects it.
    pub(super) async fn leave(&mut self, why: &str) {
        if self.is_interactive && self.is_asked {
            self.say(&format!("{why}; Enter leaves"));
            self.lines.recv().await;
        }
    }

    /// Prints without disturbing a line that is being typed.
    pub(super) fn say(&mut self, line: &str) {
        let printed = match &mut self.printer {
            Some(printer) => printer.print(format!("{line}\n")),
            None => {
                screen::say(line);
                Ok(())
            }
        };
        if let Err(error) = printed {
            screen::news(format!("cannot print: {error}"));
        }
    }
}

/// Ends with the input, Ctrl-C or Ctrl-D.
fn edit(mut editor: DefaultEditor, lines: &mpsc::Sender<String>, mut asked: mpsc::Receiver<()>) {
    while asked.blocking_recv().is_some() {
        match editor.readline("> ") {
            Ok(line) => {
                if let Err(error) = editor.add_history_entry(&line) {
                    screen::news(format!("cannot remember lines: {error}"));
                }
                if lines.blocking_send(line).is_err() {
                    return;
                }
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => return,
            Err(error) => {
                screen::news(format!("cannot read the terminal: {error}"));
                return;
            }
        }
    }
}

async fn read(lines: mpsc::Sender<String>) {
    let mut input = BufReader::new(tokio::io::stdin()).lines();
    loop {
        match input.next_line().await {
            Ok(Some(line)) => {
                if lines.send(line).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(error) => {
                screen::news(format!("cannot read the input: {error}"));
                return;
            }
        }
    }
}
