//! The memory allocator of everything in this module; Python's own objects do not use it.

use std::ffi::c_char;

use tikv_jemallocator::Jemalloc;

#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Read by jemalloc when it starts. No transparent huge pages: a big snapshot that is dropped would stall writers while
/// the kernel splits them.
// SAFETY: the name is jemalloc's own hook, declared weak there as `const char *`, which an Option of a reference is.
#[unsafe(export_name = "_rjem_malloc_conf")]
static OPTIONS: Option<&'static c_char> = {
    let options: &'static std::ffi::CStr = c"thp:never";
    // SAFETY: a C string has at least its final zero, so that its first byte may be borrowed as long as all of it.
    Some(unsafe { &*options.as_ptr() })
};
