//! Speed of the products.
fn main() {}
