//! Conversions that one function makes.

/// Implements `From` by a function.
macro_rules! conversions {
    ($(impl From<$from:ty> for $to:ty = $convert:expr;)+) => {$(
        impl From<$from> for $to {
            #[inline]
            fn from(value: $from) -> Self {
                $convert(value)
            }
        }
    )+};
}
pub(crate) use conversions;
