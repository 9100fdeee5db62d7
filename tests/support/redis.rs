//! A Redis server of a test's own: its port, its directory, its process.

use std::{
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long a server may take to start, or to load what it has on disk.
const START: Duration = Duration::from_secs(20);

/// A private server on 127.0.0.1 that has every write on disk before it answers. It dies
/// with this value.
pub struct RedisServer {
    directory: TempDir,
    port: u16,
    extra: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// Starts a server and waits until it answers.
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with more arguments (`--requirepass`, `secret`).
    pub fn start_with(extra: &[&str]) -> Self {
        let mut server = Self::absent_with(extra);
        server.restart();
        server
    }

    /// The same on that port: one that outgoing connections are never given, for a server
    /// that is away again and again while clients knock.
    pub fn start_at(port: u16) -> Self {
        let mut server = Self::absent();
        server.port = port;
        server.restart();
        server
    }

    /// A place for a server, with nothing there until `restart`.
    pub fn absent() -> Self {
        Self::absent_with(&[])
    }

    fn absent_with(extra: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = listener.local_addr().expect("its number").port();
        let extra = extra.iter().map(|word| word.to_string()).collect();
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory, port, extra, process: None }
    }

    /// Starts the server on the same port, with the data that it had, and waits until it
    /// answers.
    pub fn restart(&mut self) {
        assert!(self.process.is_none(), "it is running");
        let log = self.directory.path().join("log");
        let mut command = Command::new("redis-server");
        command
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "yes", "--appendfsync", "always"])
            .arg("--dir")
            .arg(self.directory.path())
            .arg("--logfile")
            .arg(&log)
            .arg("--unixsocket")
            .arg(self.socket())
            .args(&self.extra)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| {
            panic!("redis-server: {error}; install it with: apt-get install redis-server")
        });
        self.process = Some(process);
        let deadline = Instant::now() + START;
        while !self.answers() {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            let ended = self.process.as_mut().and_then(|process| process.try_wait().ok()?);
            assert!(ended.is_none(), "redis-server ended ({ended:?}): {text}");
            assert!(Instant::now() < deadline, "redis-server did not come up: {text}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Whether a PING is answered, by PONG or by a demand for a password.
    fn answers(&self) -> bool {
        use std::io::{Read, Write};
        let attempt = || -> std::io::Result<bool> {
            let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
            socket.set_read_timeout(Some(Duration::from_secs(1)))?;
            socket.write_all(b"PING\r\n")?;
            let mut answer = [0; 64];
            let length = socket.read(&mut answer)?;
            let answer = &answer[..length];
            Ok(answer.starts_with(b"+PONG") || answer.starts_with(b"-NOAUTH"))
        };
        attempt().unwrap_or(false)
    }

    /// `redis://127.0.0.1:port/0`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The port, also while nothing listens there.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The path of the unix socket.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().expect("it is running").id()
    }

    /// SIGKILL: no goodbye, no last write.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    /// SIGTERM, and waits for its end.
    pub fn stop(&mut self) {
        self.signal("TERM");
        if let Some(mut process) = self.process.take() {
            process.wait().expect("its end");
        }
    }

    /// SIGSTOP: it is there, and silent.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// SIGCONT after `freeze`.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    // By the command, since the crate denies the unsafe code that kill(2) needs.
    fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let status = Command::new("kill").args([format!("-{name}"), pid]).status();
        assert!(status.expect("kill").success());
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
