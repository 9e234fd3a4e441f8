package main

import (
	"encoding/xml"
	"io"
)

// junitCase is one test case of a JUnit report.
type junitCase struct {
	Class   string    `xml:"classname,attr"`
	Name    string    `xml:"name,attr"`
	Failure *struct{} `xml:"failure"`
	Error   *struct{} `xml:"error"`
	Skipped *struct {
		Message string `xml:"message,attr"`
	} `xml:"skipped"`
}

// countJUnit counts the cases of a JUnit report as pytest writes it.
func countJUnit(r io.Reader, t *tally) error {
	var report struct {
		Suites []struct {
			Cases []junitCase `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.NewDecoder(r).Decode(&report); err != nil {
		return err
	}
	for _, suite := range report.Suites {
		for _, c := range suite.Cases {
			label := c.Class + "." + c.Name
			switch {
			case c.Failure != nil || c.Error != nil:
				t.fail(label)
			case c.Skipped != nil:
				t.skip(label, c.Skipped.Message)
			default:
				t.passed++
			}
		}
	}
	return nil
}
