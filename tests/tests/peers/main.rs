//! Programs of other people as users of the agent. Each is the real one, from Debian or PyPI; where
//! it is missing the test fails and says what to install.

mod agent;
mod dnsmasq;
mod patroni;
mod process;
mod python;
mod serf;
mod victoria_metrics;
