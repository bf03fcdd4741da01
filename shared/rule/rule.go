// Package rule decides: rule packs are parsed, checked, compiled and stepped.
//
// It promises that equal inputs at equal instants give equal changes; that what
// is absent or stale is unknown, never normal; that a pack, which is untrusted
// input, cannot make it run long or grow (bounds on bytes, rules, nodes, windows
// and the stack); and that a Step allocates nothing while nothing happens. It is
// pure: no clock, no disk, no goroutine. It will not number, keep or send
// alerts, and does not know wards; it speaks of one subject at a time.
//
// # Expressions
//
// The language is that part of expr's which is written with numbers, truths,
// comparisons, + - * /, and, or, not, and the functions mean min max delta (of a
// vital and a length such as "10m", over sensor time), age (seconds since the
// vital's last reading, or since it could be seen, whichever is later: see Begin)
// and gone (seconds over which the sensor has said, word after word, that it
// looks for the vital and finds none; 0 when its last word was a value, or it said
// nothing: see Gone). age and gone are unknown only of a subject that was never heard.
// limit.hr.high is a limit; a posture is compared with its name.
//
// expr's lexer, parser and type checker are used as they are; its virtual machine
// is not. Three-valued logic needs every operator to carry "unknown", which in
// that machine means boxed values or functions in the place of operators: slower
// than plain expr, and allocating. A rule's checked syntax tree compiles to a few
// instructions of a stack machine of two dozen, in which unknown is a flag.
// Window calls become slots on the way. Limits become constants.
//
// # Limits
//
// A limit has a default, the bounds within which a ward or a patient may override
// it, and a unit:
//
//	hr.high: {default: 120, min: 90, max: 180, unit: /min, above: hr.low}
//
// above names a limit of the same pack than which this one stays higher. An
// override that breaks a bound or that order is refused, so that nothing is
// extreme which is not even high. Overrides of a ward and of its patient count together.
//
// # Three-valued logic
//
// Kleene's: true or unknown is true, false and unknown is false, anything else
// with an unknown in it is unknown. Only an unknown result makes a rule not
// evaluable. A delay that is running then stands still, and begins anew when
// nothing was known for a minute.
//
// A rule that becomes not evaluable while its alert is open does not end it: the
// alert stays for as long as nothing is known, without a bound. What ends it is
// that the rule is evaluable again and until holds for until_for, that unless
// becomes true (and says why), or that the subject is unbound. Being unable to
// see is told by the technical pack, at the latest after a minute.
//
// # Families
//
// Of the rules of a family that are true, the worst is told: the one with the
// highest priority, of equal ones the one with the higher rank (a whole number
// from 1; a rule that gives none has 0). Where a rule stands in its pack counts
// for nothing, and packs with two rules of one family that neither priority nor
// rank tells apart are refused. The worst supersedes a milder one, which ends
// when the worse is raised, or is held back; when the worse ends and the milder
// is still true, that is raised as a new episode.
package rule
