// Package lead holds the words of the domain: what a lead is, what may be asked of it, and what a change
// to it looks like to the outside. It knows neither HTTP nor Redis nor any vendor.
package lead
