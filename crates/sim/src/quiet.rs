//! Panics as findings: an assertion of the core that fails is a broken invariant, not the end of the program.

use std::cell::{Cell, RefCell};
use std::panic::UnwindSafe;
use std::sync::Once;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

static HOOK: Once = Once::new();

/// Runs `f`; a panic in it is told, not printed.
/// # Errors
/// What the panic said and where.
pub fn catch<T>(f: impl FnOnce() -> T + UnwindSafe) -> Result<T, String> {
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if CATCHING.get() {
                SAID.set(panic.to_string().replace('\n', " "));
            } else {
                usual(panic);
            }
        }));
    });
    CATCHING.set(true);
    let result = std::panic::catch_unwind(f);
    CATCHING.set(false);
    result.map_err(|_| SAID.take())
}

/// What the latest panic of this thread has said.
pub fn said() -> String {
    SAID.with_borrow(Clone::clone)
}
