// Package api is what people's programs talk to: REST under /api/v1, described
// by OpenAPI 3.1 that is generated from the types here, and the WebSocket that
// keeps a screen live.
//
// It promises that nothing about a patient leaves or changes without a person
// who is signed in, whose role and wards allow it, and a row in the audit log;
// that every refusal is an RFC 9457 problem with a stable reason and a sentence
// that a clinician understands; and that a screen which holds a cursor sees
// every later change, or is told to start over.
//
// It decides nothing about alerts: every act ends in the board. It keeps no
// state of a screen beyond its cursor and a bounded queue of live values.
package api
