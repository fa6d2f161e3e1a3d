//! How far a client has come in a session.

/// What a client has sent: the number of complete messages, and how many bytes of audio after them. The audio of a run is one
/// message, however it is split into frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) messages: usize,
    pub(super) bytes: usize,
}

impl Position {
    /// After more bytes of audio.
    pub(super) fn after_audio(self, bytes: usize) -> Self {
        Self {
            bytes: self.bytes + bytes,
            ..self
        }
    }

    /// The place of the next message that is not audio: a run of audio is then complete.
    pub(super) fn at_message(self) -> Self {
        Self {
            messages: self.messages + usize::from(self.bytes > 0),
            bytes: 0,
        }
    }

    /// After a message that is not audio.
    pub(super) fn after_message(self) -> Self {
        let at = self.at_message();
        Self {
            messages: at.messages + 1,
            ..at
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_counts_as_one_message() {
        let start = Position::default();
        let (cut, whole) = (start.after_audio(1).after_audio(2), start.after_audio(3));
        assert_eq!(cut, whole);
        assert!(start < cut && cut < cut.after_audio(1) && cut.after_audio(9) < cut.after_message());
        assert_eq!(cut.after_message(), Position { messages: 2, bytes: 0 });
        assert_eq!(start.after_message(), Position { messages: 1, bytes: 0 });
        assert_eq!(start.after_audio(0).after_message(), start.after_message());
    }
}
