// Package docs holds the tests of what is written beside the code: that links in
// the documentation lead somewhere, that packages import only what their floor
// allows, and that generated code is fresh. It has no code of its own.
package docs
