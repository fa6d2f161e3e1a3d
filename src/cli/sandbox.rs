//! `run --sandbox`: the command in a network namespace whose only way out is the proxy.
//!
//! `unshare` starts this program again in new user and network namespaces. There it enables the loopback interface, listens
//! on the address of the proxy, hands that listener to the proxy outside, and replaces itself with the command (`exec`).

use std::ffi::OsString;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketType, recv, recvmsg, send, sendmsg, socket,
};
use tempfile::TempDir;
use tokio::io::Interest;
use tokio::net::UnixListener;

use crate::error::{Error, ErrorKind, Result};

/// `unshare` of util-linux, with the namespaces: the user stays the same, and may configure the new network.
const UNSHARE: [&str; 5] = ["unshare", "--user", "--map-current-user", "--keep-caps", "--net"];

/// What this program does in the namespace.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The address of the proxy.
    #[arg(long)]
    listen: SocketAddr,
    /// The socket on which the proxy receives the listener.
    #[arg(long)]
    socket: PathBuf,
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Receives the listener of a command in a namespace.
pub(crate) struct Sandbox {
    folder: TempDir,
    socket: UnixListener,
}

impl Sandbox {
    /// # Errors
    /// [`ErrorKind::Settings`] if the system has no namespaces for this user.
    pub(crate) fn new() -> Result<Self> {
        check()?;
        let failed = |error| Error::new(ErrorKind::Io, "cannot create the socket of the sandbox").with_source(error);
        let folder = tempfile::Builder::new()
            .prefix("mistral-cassette-")
            .tempdir()
            .map_err(failed)?;
        let socket = UnixListener::bind(folder.path().join("socket")).map_err(failed)?;
        Ok(Self { folder, socket })
    }

    /// The command that runs this one in the namespace.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] if the path of this program is not known.
    pub(crate) fn wrap(&self, command: &[OsString], proxy: SocketAddr) -> Result<Vec<OsString>> {
        let program = std::env::current_exe()
            .map_err(|error| Error::new(ErrorKind::Internal, "cannot find this program").with_source(error))?;
        let mut wrapped: Vec<OsString> = UNSHARE.iter().map(Into::into).collect();
        wrapped.extend(["--".into(), program.into(), "sandboxed".into()]);
        wrapped.extend(["--listen".into(), proxy.to_string().into()]);
        wrapped.extend(["--socket".into(), self.folder.path().join("socket").into()]);
        wrapped.push("--".into());
        wrapped.extend(command.iter().cloned());
        Ok(wrapped)
    }

    /// Waits for the listener in the namespace.
    ///
    /// # Errors
    /// [`ErrorKind::Io`] if it cannot be received.
    pub(crate) async fn listener(&self) -> Result<tokio::net::TcpListener> {
        let failed = |error| Error::new(ErrorKind::Io, "cannot receive the listener of the sandbox").with_source(error);
        let (stream, _) = self.socket.accept().await.map_err(failed)?;
        let received = stream.async_io(Interest::READABLE, || receive(&stream)).await;
        let listener: TcpListener = received.map_err(failed)?.into();
        listener.set_nonblocking(true).map_err(failed)?;
        tokio::net::TcpListener::from_std(listener).map_err(failed)
    }
}

/// Checks that this user can create the namespaces.
fn check() -> Result<()> {
    let output = Command::new(UNSHARE[0]).args(&UNSHARE[1..]).arg("true").output();
    let reason = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        Err(error) => format!("unshare: {error}"),
    };
    let message = format!("--sandbox needs the namespaces of Linux, and this user cannot create them: {reason}");
    Err(Error::new(ErrorKind::Settings, message).with_hint(
        "use --block-network, which refuses what passes through the proxy; containers often forbid namespaces",
    ))
}

/// Replaces this process with the command, in the namespace.
pub(crate) fn run(arguments: &Arguments) -> Result<std::process::ExitCode> {
    let failed = |what: &str, error: std::io::Error| {
        Error::new(ErrorKind::Settings, format!("--sandbox cannot {what}")).with_source(error)
    };
    enable_loopback().map_err(|error| failed("enable the loopback interface", error.into()))?;
    let listener = TcpListener::bind(arguments.listen).map_err(|error| failed("listen", error))?;
    hand_over(&listener, &arguments.socket).map_err(|error| failed("reach the proxy", error))?;
    let [program, rest @ ..] = arguments.command.as_slice() else {
        return Err(Error::new(ErrorKind::Settings, "there is no command to run"));
    };
    // Returns only if it fails.
    let error = Command::new(program).args(rest).exec();
    let message = format!("cannot run {}", program.display());
    Err(Error::new(ErrorKind::Settings, message).with_source(error))
}

/// Enables the first interface of the namespace, with a message of rtnetlink(7).
fn enable_loopback() -> rustix::io::Result<()> {
    const NEW_LINK: u16 = 16;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
    const UP: u32 = 1;
    let mut message = Vec::new();
    message.extend(32_u32.to_ne_bytes());
    message.extend(NEW_LINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    // The sequence number, and the sender.
    message.extend([0; 8]);
    // Any family and type, the index, the flags, and which of them change.
    message.extend([0; 4]);
    message.extend(1_i32.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    message.extend(UP.to_ne_bytes());
    // The protocol 0 of netlink is rtnetlink.
    let socket = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 1024];
    let (length, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    // The error is after the header of 16 bytes.
    match answer[..length].get(16..20) {
        Some([0, 0, 0, 0]) => Ok(()),
        Some(error) => {
            let number = i32::from_ne_bytes([error[0], error[1], error[2], error[3]]);
            Err(rustix::io::Errno::from_raw_os_error(-number))
        }
        None => Err(rustix::io::Errno::IO),
    }
}

/// Sends a listener to the process that waits on this socket.
fn hand_over(listener: &TcpListener, path: &Path) -> std::io::Result<()> {
    let stream = UnixStream::connect(path)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let files = [listener.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&files));
    sendmsg(&stream, &[IoSlice::new(b"l")], &mut control, SendFlags::empty())?;
    Ok(())
}

/// Receives it there.
fn receive(stream: &tokio::net::UnixStream) -> std::io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(
        stream,
        &mut [IoSliceMut::new(&mut byte)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    received.ok_or_else(|| std::io::ErrorKind::UnexpectedEof.into())
}
