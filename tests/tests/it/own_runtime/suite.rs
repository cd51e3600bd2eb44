use rappel_testkit::runtime_suite;

use super::toy::Toy;

runtime_suite!(Toy::new());
