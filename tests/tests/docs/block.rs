//! A fenced block of shell commands, and the directive in the comment before it.

/// One fenced block.
#[derive(Debug, PartialEq, Eq)]
pub struct Block {
    /// Line of its first command, from 1.
    pub line: usize,
    commands: String,
    /// Text of the comment directly before the block, without the comment markers.
    comment: Option<String>,
}

/// Treatment of a block.
#[derive(Debug, PartialEq, Eq)]
pub enum How {
    /// Run these commands.
    Run(String),
    /// Skip the block, for this reason.
    NotRun(String),
    /// Refuse the comment: it names words that the block does not contain.
    Stale(String),
}

impl Block {
    /// All blocks of a page, in order.
    pub fn all(page: &str) -> Vec<Block> {
        let mut blocks = Vec::new();
        let mut lines = page.lines().enumerate();
        let mut comment = None;
        while let Some((at, line)) = lines.next() {
            let text = line.trim();
            if text == "```sh" {
                let commands: Vec<&str> =
                    lines.by_ref().map(|(_, line)| line).take_while(|line| line.trim() != "```").collect();
                blocks.push(Block { line: at + 2, commands: commands.join("\n"), comment: comment.take() });
            } else if text.starts_with("```") && text.len() > 3 {
                // The lines of a block in another language are skipped, because they are not markup.
                lines.by_ref().take_while(|(_, line)| line.trim() != "```").for_each(drop);
                comment = None;
            } else if !text.is_empty() {
                let inner = text.strip_prefix("<!--").and_then(|text| text.strip_suffix("-->"));
                comment = inner.map(|inner| inner.trim().to_owned());
            }
        }
        blocks
    }

    /// The treatment that the comment asks for.
    pub fn how(&self) -> How {
        let comment = self.comment.as_deref().unwrap_or_default();
        if let Some(why) = comment.strip_prefix("not run:") {
            return How::NotRun(why.trim().to_owned());
        }
        let Some(changes) = comment.strip_prefix("run with:") else { return How::Run(self.commands.clone()) };
        let mut commands = self.commands.clone();
        for change in changes.split(" ; ") {
            let (words, others) = change.split_once("=>").unwrap_or((change, ""));
            if !commands.contains(words.trim()) {
                return How::Stale(words.trim().to_owned());
            }
            commands = commands.replace(words.trim(), others.trim());
        }
        How::Run(commands)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_belong_to_the_block_behind_them() {
        let page = "<!-- not run: no time -->\n\n```sh\na\n```\ntext\n```sh\nb\nc\n```\n```json\n```\n<!-- run with: D => d ; e => -->\n```sh\nx D e\n```\n";
        let blocks = Block::all(page);
        assert_eq!(blocks.iter().map(|block| block.line).collect::<Vec<_>>(), [4, 8, 15]);
        let how: Vec<How> = blocks.iter().map(Block::how).collect();
        assert_eq!(how, [How::NotRun("no time".into()), How::Run("b\nc".into()), How::Run("x d ".into())]);
        let other = Block::all("<!-- not run: no npm -->\n```js\n1\n```\n```sh\na\n```\n");
        assert_eq!(other[0].how(), How::Run("a".into()));
        let stale = Block::all("<!-- run with: DIR => d -->\n```sh\nx\n```\n");
        assert_eq!(stale[0].how(), How::Stale("DIR".into()));
    }
}
