//! Setters that take and return `self`.

/// Writes public setters in an `impl` block. Each takes `self` by value, changes it, and returns it,
/// so that they can be chained.
macro_rules! setters {
    ($(
        $(#[$doc:meta])*
        $setter:ident($($value:ident: $type:ty),*) { $self:ident $($change:tt)+ }
    )+) => {$(
        $(#[$doc])*
        #[must_use = "it returns the changed value"]
        pub fn $setter(mut $self $(, $value: $type)*) -> Self {
            $self $($change)+;
            $self
        }
    )+};
}
pub(crate) use setters;
