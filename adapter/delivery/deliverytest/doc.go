// Package deliverytest has the fakes that tests of the delivery loop share: a queue, a sender and a
// clock. They work on real time and in testing/synctest. Only tests import it.
package deliverytest
