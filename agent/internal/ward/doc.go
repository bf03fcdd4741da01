// Package ward is the clinical state of the wards that a gateway watches:
// bindings, newest vitals, rules, alerts and summaries.
//
// Step is a function of state, input and instant: the same inputs at the same
// instants give the same events, in a test, on recorded frames and after a
// restart. It promises that an alert is raised once an episode and ended by live
// evidence only; that what comes late is summed up and never raises; that a
// sensor which says nothing is told; and that a message costs no memory while
// nothing happens. It reads no clock, opens no file and starts no goroutine; it
// will not decode frames, nor keep or send what it puts out.
//
// # Time
//
// Everything inside runs on the ward's own time: the gateway's monotonic clock,
// carried on over a restart of the process or of the machine, so that neither a
// stepped wall clock nor down time ends a delay or makes a sensor silent. Time
// passes in ticks on a grid of one second, however seldom Step is called.
// Silence counts only while the broker is connected.
package ward
