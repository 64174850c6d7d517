//! Asking for memory before it is read.

/// Longer items are asked for up to here, in bytes: the processor sees by itself that the rest follows.
const ASKED_BYTES: usize = 4096;

const LINE_BYTES: usize = 64;

/// Has the processor fetch `items` into its second cache while other work goes on; nothing on other processors than
/// x86-64, for which stable Rust has no such hint.
pub(super) fn prefetch<T>(items: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        let first = items.as_ptr().cast::<i8>();
        let Some(last) = size_of_val(items).min(ASKED_BYTES).checked_sub(1) else {
            return;
        };
        // The last byte as well: items do not begin where a cache line does.
        for at in (0..last).step_by(LINE_BYTES).chain([last]) {
            // SAFETY: a prefetch is a hint, it faults nowhere; and `at` is inside `items`.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(first.add(at)) };
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (items, ASKED_BYTES, LINE_BYTES);
}
