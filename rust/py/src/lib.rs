//! The Python binding: one file per Python-visible class, one error map.
