//! `floodgate completions` and `floodgate man`: what shells and man(1) are told of the arguments that are read.

use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::exit::{Exit, say_as_it_is};

#[derive(Args)]
#[command(after_help = "\
Examples:
  floodgate completions bash > /etc/bash_completion.d/floodgate
  floodgate completions zsh > \"${fpath[1]}/_floodgate\"
  floodgate completions fish > ~/.config/fish/completions/floodgate.fish")]
pub(crate) struct CompletionsArgs {
    /// For which shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

#[derive(Args)]
#[command(after_help = "\
Examples:
  floodgate man | man -l -                    the page of floodgate itself
  floodgate man dlq replay | man -l -         that of a command
  floodgate man --dir /usr/local/share/man/man1")]
pub(crate) struct ManArgs {
    /// The command whose page it is, such as dlq replay [default: floodgate itself]
    #[arg(value_name = "COMMAND", conflicts_with = "dir")]
    command: Vec<String>,
    /// Write the pages of all commands into this folder
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(crate) fn completions(args: &CompletionsArgs, mut of: Command) -> Result<(), Exit> {
    let (name, mut script) = (of.get_name().to_owned(), Vec::new());
    clap_complete::generate(args.shell, &mut of, name, &mut script);
    say_as_it_is(&String::from_utf8_lossy(&script)).map(drop)
}

pub(crate) fn man(args: &ManArgs, mut of: Command) -> Result<(), Exit> {
    of.build();
    if let Some(folder) = &args.dir {
        return write_all(&of, folder);
    }
    let mut found = &of;
    for name in &args.command {
        let missing = || Exit::usage(format!("there is no command `{}`", args.command.join(" ")));
        found = found.find_subcommand(name).ok_or_else(missing)?;
    }
    say_as_it_is(&String::from_utf8_lossy(&page(found)?)).map(drop)
}

fn page(of: &Command) -> Result<Vec<u8>, Exit> {
    let mut page = Vec::new();
    sections(of, &mut page).map_err(Exit::failed)?;
    Ok(page)
}

/// As the library has them, but for what stands behind the arguments: examples keep their lines.
fn sections(of: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let man = Man::new(of.clone());
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if of.has_subcommands() {
        man.render_subcommands_section(page)?;
    }
    page.extend(behind(&of.get_after_help().map(ToString::to_string).unwrap_or_default()).into_bytes());
    match of.get_version() {
        Some(_) => man.render_version_section(page),
        None => Ok(()),
    }
}

fn behind(text: &str) -> String {
    let escaped = |text: &str| text.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
    let (mut page, mut has_notes) = (String::new(), false);
    for part in text.split("\n\n").filter(|part| !part.is_empty()) {
        match part.strip_prefix("Examples:\n") {
            Some(examples) => page += &format!(".SH EXAMPLES\n.nf\n{}\n.fi\n", escaped(examples)),
            None => {
                page += if has_notes { ".PP\n" } else { ".SH NOTES\n" };
                page += &(escaped(part) + "\n");
                has_notes = true;
            }
        }
    }
    page
}

fn write_all(of: &Command, folder: &Path) -> Result<(), Exit> {
    let name = of.get_display_name().unwrap_or_else(|| of.get_name());
    let file = folder.join(format!("{name}.1"));
    let written = std::fs::write(&file, page(of)?);
    written.map_err(|error| Exit::failed(format!("{}: {error}", file.display())))?;
    of.get_subcommands().filter(|of| of.get_name() != "help").try_for_each(|of| write_all(of, folder))
}
