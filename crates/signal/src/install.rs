//! Installing the handlers, and taking them out again. (Normal context only.)

use core::ffi::CStr;
use core::fmt;
use core::mem;
use core::ptr;
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;

use libc::{c_int, sigaction};
use trapline_lock::{Mutex, MutexGuard};

use crate::handler;
use crate::handler::direct::MASK_BYTES;
use crate::handler::previous::{self, SavedAction};
use crate::signals::{SIGNALS, name_of};

/// Installs the handlers, if they are not installed already.
///
/// Every call that succeeds is one use; the handlers stay until each use has
/// been given up with [`SignalHandlers::uninstall`]. Dropping the
/// [`SignalHandlers`] does not give the use up: a handler must not vanish from
/// under guests because a value went out of scope.
///
/// Handlers that are there already are kept and called for every signal that
/// is no guest's trap (see the [crate documentation](crate)). If another handler has been
/// installed on top of ours since, that is left as it is: it is supposed to
/// forward to us.
///
/// # Errors
///
/// If the operating system refuses, which it does not do by itself for these
/// signals; a filter on system calls may. Then everything is as before.
pub fn install() -> Result<SignalHandlers, InstallError> {
    State::lock().add_use()?;
    Ok(SignalHandlers { _private: () })
}

/// Installs the handlers for the rest of the life of the process, if that has
/// not been done already. A few instructions after the first time.
///
/// # Errors
///
/// As for [`install`]; a later call tries again.
pub fn ensure_installed() -> Result<(), InstallError> {
    // Only ever set, and after the handlers were installed.
    static DONE: AtomicBool = AtomicBool::new(false);
    if DONE.load(Ordering::Acquire) {
        return Ok(());
    }
    let mut state = State::lock();
    if !DONE.load(Ordering::Acquire) {
        state.add_use()?;
        DONE.store(true, Ordering::Release);
    }
    Ok(())
}

/// One use of the installed handlers, from [`install`].
#[must_use = "the handlers stay installed for ever if this is dropped; `ensure_installed` says so"]
#[derive(Debug)]
pub struct SignalHandlers {
    _private: (),
}

impl SignalHandlers {
    /// Gives this use up. With the last one, what was installed before us is
    /// installed again.
    ///
    /// No guest that relies on hardware traps may run from then on, on any
    /// thread: its next trap would be a crash.
    ///
    /// Handlers that others installed before us and that were to run only once
    /// (`SA_RESETHAND`), and did, are not installed again, as without us.
    ///
    /// # Errors
    ///
    /// * [`UninstallErrorKind::OnTop`] if for one of the signals another handler
    ///   has been installed on top of ours. It may hold our address to forward
    ///   to, so we can neither go nor put others in its place.
    /// * [`UninstallErrorKind::Os`] if the operating system refuses (see
    ///   [`install`]).
    ///
    /// On an error nothing has changed, and the error holds the use, to try
    /// again later.
    pub fn uninstall(self) -> Result<(), UninstallError> {
        let removed = State::lock().remove_use();
        removed.map_err(|refused| UninstallError {
            kind: refused.into_kind(),
            handlers: self,
        })
    }

    /// Who stands in front of our handlers: for each of the signals, what is
    /// installed if it is not ours. Empty if signals come to us first.
    ///
    /// For diagnosis. A handler in front of ours is in order if it forwards
    /// what it does not know.
    #[must_use]
    pub fn on_top(&self) -> Vec<OnTop> {
        // What cannot be asked cannot be reported.
        let on_top = installed_on_top().unwrap_or_default();
        on_top.iter().map(OnTop::new).collect()
    }
}

/// What the lock guards: who may call `sigaction`, and the notes on it.
struct State {
    /// How many uses have not been given up.
    uses: usize,
    /// Every action that ever was there before us, once. Never freed, since a
    /// handler on another thread may be reading it; there are as many as there
    /// are different ones, however often we are installed.
    saved: Vec<&'static SavedAction>,
}

static STATE: Mutex<State> = Mutex::new(State {
    uses: 0,
    saved: Vec::new(),
});

impl State {
    /// Every change under the lock is complete before anything that may panic (allocation).
    fn lock() -> MutexGuard<'static, Self> {
        STATE.lock()
    }

    fn add_use(&mut self) -> Result<(), InstallError> {
        if self.uses == 0 {
            self.install_all()?;
        }
        self.uses += 1;
        Ok(())
    }

    fn remove_use(&mut self) -> Result<(), Refused> {
        if self.uses == 1 {
            self.uninstall_all()?;
        }
        self.uses -= 1;
        Ok(())
    }

    fn install_all(&mut self) -> Result<(), InstallError> {
        handler::direct::find_out();
        for (done, signal) in SIGNALS.into_iter().enumerate() {
            if let Err(error) = self.install_one(signal) {
                for &undo in &SIGNALS[..done] {
                    // If this fails too, the handler stays, and forwards.
                    let _ = exchange(undo, previous::of(undo).action());
                }
                return Err(InstallError { signal, error });
            }
        }
        Ok(())
    }

    /// Installs our handler for `signal`, with what is there now as the one to
    /// forward to.
    fn install_one(&mut self, signal: c_int) -> io::Result<()> {
        let before = query(signal)?;
        // The signal may arrive, on any thread, as soon as our handler is
        // installed: it must then find what to forward to.
        self.publish(signal, &before);
        let replaced = install_ours(signal, &our_action(&before))?;
        // Somebody else was between the two calls: what we really replaced is
        // theirs.
        if !is_same(&before, &replaced) {
            self.publish(signal, &replaced);
        }
        Ok(())
    }

    /// Makes `action` the one to forward to; unless it is our own handler,
    /// which somebody put back who had found it there earlier: then what was
    /// behind it is still what is behind it.
    fn publish(&mut self, signal: c_int, action: &sigaction) {
        if is_ours(action) {
            return;
        }
        let known = self
            .saved
            .iter()
            .copied()
            .find(|saved| is_same(saved.action(), action));
        let saved = known.unwrap_or_else(|| {
            let saved: &'static SavedAction = Box::leak(Box::new(SavedAction::new(*action)));
            self.saved.push(saved);
            saved
        });
        previous::publish(signal, saved);
    }

    fn uninstall_all(&mut self) -> Result<(), Refused> {
        let on_top = installed_on_top()?;
        if !on_top.is_empty() {
            return Err(Refused::OnTop(on_top));
        }
        for (done, signal) in SIGNALS.into_iter().enumerate() {
            let refused = match exchange(signal, previous::of(signal).action()) {
                Ok(replaced) if is_ours(&replaced) => continue,
                // Somebody came between the look above and now: put theirs back.
                Ok(replaced) => {
                    let _ = exchange(signal, &replaced);
                    Refused::OnTop(vec![(signal, replaced)])
                }
                Err(error) => Refused::Os { signal, error },
            };
            for &undo in &SIGNALS[..done] {
                // Cannot fail where the uninstallation has just not failed.
                let _ = self.install_one(undo);
            }
            return Err(refused);
        }
        Ok(())
    }
}

/// The action that installs our handler in place of `before`.
fn our_action(before: &sigaction) -> sigaction {
    let mut action = previous::default_action();
    action.sa_sigaction = our_handler();
    action.sa_flags =
        // We need to know who raised the signal, and the registers of the
        // interrupted code, to change them.
        libc::SA_SIGINFO
        // A guest, or a host function, may have used up the thread's stack:
        // then only the alternate one has room for a handler.
        | libc::SA_ONSTACK
        // A fault inside the handler, or inside the one we forward to, must
        // come to us again and be passed on: were the signal blocked, the
        // kernel would kill the process without asking anyone. And with nothing
        // blocked, nothing needs to be unblocked where a guest is left.
        | libc::SA_NODEFER
        // Not for traps, which interrupt no system call, but for signals that
        // somebody sends: what is restarted without us is restarted with us. An
        // ignored signal interrupts nothing.
        | if before.sa_sigaction == libc::SIG_IGN {
            libc::SA_RESTART
        } else {
            before.sa_flags & libc::SA_RESTART
        };
    // Empty, like all of `action` that is not set here: a trap is left for a
    // guest's host, or forwarded to somebody who has their own mask.
    // SAFETY: the set is writable.
    unsafe { libc::sigemptyset(&raw mut action.sa_mask) };
    action
}

fn our_handler() -> usize {
    handler::direct::entry as *const () as usize
}

fn is_ours(action: &sigaction) -> bool {
    action.sa_sigaction == our_handler()
}

/// Whether the kernel gives `signal` to our handler first.
pub(crate) fn comes_to_us(signal: c_int) -> bool {
    query(signal).is_ok_and(|action| is_ours(&action))
}

/// Whether two actions do the same.
fn is_same(a: &sigaction, b: &sigaction) -> bool {
    a.sa_sigaction == b.sa_sigaction && a.sa_flags == b.sa_flags && kernel_mask(a) == kernel_mask(b)
}

/// The mask of an action as far as the kernel knows it. The C library's is longer, and nobody
/// says what is in the rest of it.
fn kernel_mask(action: &sigaction) -> [u8; MASK_BYTES] {
    const { assert!(size_of::<libc::sigset_t>() >= MASK_BYTES) };
    // SAFETY: that many bytes of an initialised set; bytes need no alignment.
    unsafe {
        (&raw const action.sa_mask)
            .cast::<[u8; MASK_BYTES]>()
            .read()
    }
}

/// The signals that do not come to us first, and who gets them.
fn installed_on_top() -> Result<Vec<(c_int, sigaction)>, Refused> {
    let mut on_top = Vec::new();
    for signal in SIGNALS {
        let action = query(signal).map_err(|error| Refused::Os { signal, error })?;
        if !is_ours(&action) {
            on_top.push((signal, action));
        }
    }
    Ok(on_top)
}

/// Why nothing was uninstalled, as it is found under the lock.
///
/// What the handlers on top are called is not asked there: the dynamic linker, which knows, has a lock of its
/// own, and may be waiting for ours in the initialiser of a library.
enum Refused {
    OnTop(Vec<(c_int, sigaction)>),
    Os { signal: c_int, error: io::Error },
}

impl Refused {
    fn into_kind(self) -> UninstallErrorKind {
        match self {
            Self::OnTop(on_top) => {
                UninstallErrorKind::OnTop(on_top.iter().map(OnTop::new).collect())
            }
            Self::Os { signal, error } => UninstallErrorKind::Os { signal, error },
        }
    }
}

/// What is installed for `signal`.
fn query(signal: c_int) -> io::Result<sigaction> {
    replace(|action| {
        // SAFETY: asks only; `action` is writable.
        unsafe { sigaction(signal, ptr::null(), action) }
    })
}

/// Installs `action`, which has our handler, for `signal`; what was there is returned.
fn install_ours(signal: c_int, action: &sigaction) -> io::Result<sigaction> {
    replace(|replaced| {
        // SAFETY: the handler has the type that its flags promise and keeps to what handlers
        // may do; `replaced` is writable.
        unsafe { handler::direct::install(signal, action, replaced) }
    })
}

/// Installs `action`, somebody else's, for `signal`; what was there is returned.
fn exchange(signal: c_int, action: &sigaction) -> io::Result<sigaction> {
    replace(|replaced| {
        // SAFETY: an action that was installed before; `replaced` is writable.
        unsafe { sigaction(signal, action, replaced) }
    })
}

/// What `call` has replaced, or has found.
///
/// A whole action is there before the call: musl fills in the handler, the flags and as much of the mask as
/// the kernel knows, and leaves the rest as it is.
fn replace(call: impl FnOnce(*mut sigaction) -> c_int) -> io::Result<sigaction> {
    let mut replaced = previous::default_action();
    if call(&raw mut replaced) != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(replaced)
}

/// The handlers could not be installed; everything is as before.
#[derive(Debug)]
pub struct InstallError {
    signal: c_int,
    error: io::Error,
}

impl InstallError {
    /// The number of the signal that could not be had.
    #[must_use]
    pub fn signal(&self) -> i32 {
        self.signal
    }
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot install a handler for {}", name_of(self.signal))
    }
}

impl std::error::Error for InstallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// The handlers were not uninstalled; everything is as before.
#[derive(Debug)]
pub struct UninstallError {
    kind: UninstallErrorKind,
    handlers: SignalHandlers,
}

impl UninstallError {
    /// Why not.
    #[must_use]
    pub fn kind(&self) -> &UninstallErrorKind {
        &self.kind
    }

    /// The use that could not be given up, to try again.
    pub fn into_handlers(self) -> SignalHandlers {
        self.handlers
    }
}

impl fmt::Display for UninstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot uninstall the signal handlers: ")?;
        match &self.kind {
            UninstallErrorKind::OnTop(all) => {
                for (i, on_top) in all.iter().enumerate() {
                    if i > 0 {
                        f.write_str("; ")?;
                    }
                    write!(f, "{on_top}")?;
                }
                Ok(())
            }
            UninstallErrorKind::Os { signal, .. } => {
                write!(f, "the operating system refuses for {}", name_of(*signal))
            }
        }
    }
}

impl std::error::Error for UninstallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            UninstallErrorKind::OnTop(_) => None,
            UninstallErrorKind::Os { error, .. } => Some(error),
        }
    }
}

/// Why the handlers were not uninstalled.
#[derive(Debug)]
#[non_exhaustive]
pub enum UninstallErrorKind {
    /// Others have been installed on top of ours, for these signals (at least
    /// one).
    OnTop(Vec<OnTop>),
    /// The operating system refused.
    Os {
        /// The number of the signal.
        signal: i32,
        /// What it said.
        error: io::Error,
    },
}

/// What is installed for one signal where our handler was expected.
///
/// Displays as, for example, `SIGSEGV goes to the handler at 0x7f12a0c01230
/// (crash_handler + 0x0 in /usr/lib/libcrash.so)`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OnTop {
    /// The number of the signal.
    pub signal: i32,
    /// What happens when it arrives.
    pub action: ActionOnTop,
}

/// What happens when a signal arrives that does not come to us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ActionOnTop {
    /// The default action: the process dies.
    Default,
    /// It is ignored; the process dies if the processor raised it.
    Ignore,
    /// A handler is called.
    Handler {
        /// Where it is.
        address: usize,
        /// The file that the code at this address was loaded from, if the
        /// dynamic linker knows.
        library: Option<String>,
        /// The nearest exported symbol at or below the address, and the
        /// distance from it in bytes; `None` if the dynamic linker knows none.
        symbol: Option<(String, usize)>,
    },
}

impl OnTop {
    fn new((signal, action): &(c_int, sigaction)) -> Self {
        let signal = *signal;
        let action = match action.sa_sigaction {
            libc::SIG_DFL => ActionOnTop::Default,
            libc::SIG_IGN => ActionOnTop::Ignore,
            address => ActionOnTop::handler(address),
        };
        Self { signal, action }
    }
}

impl ActionOnTop {
    fn handler(address: usize) -> Self {
        // SAFETY: a structure of pointers, for which all zeros is a value.
        let mut info: libc::Dl_info = unsafe { mem::zeroed() };
        // SAFETY: looks the address up, whatever it is; `info` is writable. If
        // nothing is known, `info` may stay as it is.
        unsafe { libc::dladdr(ptr::without_provenance(address), &raw mut info) };
        let text = |pointer: *const libc::c_char| {
            (!pointer.is_null()).then(|| {
                // SAFETY: the dynamic linker's strings end with a zero; they
                // stay as long as the library is loaded, which it is as long as
                // one of its functions is a signal handler.
                unsafe { CStr::from_ptr(pointer) }
                    .to_string_lossy()
                    .into_owned()
            })
        };
        Self::Handler {
            address,
            library: text(info.dli_fname),
            symbol: text(info.dli_sname)
                .map(|name| (name, address.wrapping_sub(info.dli_saddr.addr()))),
        }
    }
}

impl fmt::Display for OnTop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signal = name_of(self.signal);
        match &self.action {
            ActionOnTop::Default => write!(f, "{signal} has the default action"),
            ActionOnTop::Ignore => write!(f, "{signal} is ignored"),
            ActionOnTop::Handler {
                address,
                library,
                symbol,
            } => {
                write!(f, "{signal} goes to the handler at {address:#x}")?;
                match (symbol, library) {
                    (Some((name, offset)), Some(library)) => {
                        write!(f, " ({name} + {offset:#x} in {library})")
                    }
                    (Some((name, offset)), None) => write!(f, " ({name} + {offset:#x})"),
                    (None, Some(library)) => write!(f, " (in {library})"),
                    (None, None) => Ok(()),
                }
            }
        }
    }
}
