//! Setters that take and return `self`.

/// Writes public setters of one field each, in an `impl` block. Each takes `self` by value, so that
/// they can be chained.
macro_rules! setters {
    ($(
        $(#[$doc:meta])*
        $setter:ident($value:ident: $type:ty) { self.$field:ident = $new:expr }
    )+) => {$(
        $(#[$doc])*
        #[must_use]
        pub fn $setter(mut self, $value: $type) -> Self {
            self.$field = $new;
            self
        }
    )+};
}
pub(crate) use setters;
