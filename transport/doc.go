// Package transport carries calls: the front that clients call, the connections
// to workers, the control API, and the one table of the errors that callers see.
// It knows neither processes nor pools; the manager gives it a Router.
package transport
