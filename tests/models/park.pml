/*
 * The protocol of transport/park.h, for the model checker spin: a sleeper whose
 * item is published does not sleep for ever. check.sh checks this model as the
 * protocol is, and without each of its parts in turn, which must be found out.
 *
 * Each waker publishes items, 1 to ROUNDS or fewer. Each sleeper waits for one
 * after the other, of any waker, and leaves some out. Whoever cannot go on has
 * ended, or sleeps for something unpublished, which are valid ends (the labels
 * that begin with "end"); or is forgotten, and spin reports an invalid end state.
 *
 * Stores are buffered, as on x86-64 (TSO): what a waker publishes enters its store
 * buffer and reaches the memory later, at any time and in order; its loads do not
 * wait for that. A barrier waits until the buffer is empty, and so does a locked
 * instruction. Sleepers have no buffer: the stores that matter are all locked. A
 * compare-and-swap that fails is no barrier here: C does not promise what x86-64 does.
 *
 * Whatever depends on times is left open, so that both cases are tried: whether
 * fences were in vain often, whether a deadline has passed. A sleeper that dies is one that does not go on. Not modelled:
 * bells, wakers that die, a count of wake-ups that wraps.
 *
 * Options: WAKERS and SLEEPERS (wakers: 1 or 2), ROUNDS; BARE_AT_FIRST; ALWAYS_FENCE,
 * for where there is no membarrier(); and one for each part that can be left out:
 *	NO_MEMBARRIER		in S2, though the word is BARE or UNSETTLED
 *	NOT_BARE_IS_ENOUGH	for S2 to go without, UNSETTLED or not
 *	SETTLED_AT_ONCE		when it is not BARE any more, without the membarrier() between
 *	SETTLED_ANYHOW		though the word has changed since
 *	NO_FENCE		by a waker that finds it not BARE
 *	NO_FENCE_OVERTAKEN	by a waker that another has overtaken in W4
 *	SWAPPED			W1 and W3, as if by the compiler
 *	WAKE_UP_UNCOUNTED	in W4
 *	VAIN_UNCOUNTED		where a waker sets BARE
 */
#ifndef WAKERS
#define WAKERS 1
#endif
#ifndef SLEEPERS
#define SLEEPERS 1
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#if WAKERS > 2 || WAKERS * ROUNDS > 15
#error "membarrier() knows two buffers, and the count of wake-ups has four bits"
#endif

/* As in enum far__armed. */
#define ARMED 1
#define BARE 4
#define UNSETTLED 8
#define WAKE_UP 16

#ifdef WAKE_UP_UNCOUNTED
#define COUNT_WAKE_UP 0
#else
#define COUNT_WAKE_UP WAKE_UP
#endif
#ifdef VAIN_UNCOUNTED
#define COUNT_VAIN 0
#else
#define COUNT_VAIN WAKE_UP
#endif

#ifdef BARE_AT_FIRST
byte armed = BARE;
#else
byte armed;				/* the park's word; only locked instructions change it */
#endif
byte item[WAKERS];			/* the last one that each has published, in memory */
chan buffer[WAKERS] = [ROUNDS] of { byte };	/* its newer ones: the store buffer */
bool asleep[SLEEPERS];			/* in the futex call */

/* The stores of waker _pid reach the memory. */
active [WAKERS] proctype memory()
{
end:	do
	:: buffer[_pid]?item[_pid]
	od
}

/* -------------------------------------------------------------- waking */

#define WAKER (_pid - WAKERS)

inline fence()
{
	empty(buffer[WAKER])
}

inline futex_wake()
{
	d_step {
		for (i : 0 .. SLEEPERS - 1) {
			asleep[i] = false
		}
		i = 0
	}
}

/* far__park_wake_slowly(), with fenced_in_vain() */
inline wake_slowly()
{
	word = armed;
	if
	:: !(word & ARMED) ->
#ifndef NO_FENCE
		fence();
#endif
		word = armed
	:: else
	fi;
	if
	:: !(word & ARMED) ->
		if
		:: atomic {
				armed == word && empty(buffer[WAKER]) ->
				armed = ((word & ~UNSETTLED) | BARE) + COUNT_VAIN
			}
		:: true
		fi
	:: else ->
		do						/* W4 */
		:: atomic {
				armed == word && empty(buffer[WAKER]) ->
				armed = (word & ~ARMED) + COUNT_WAKE_UP
			};
			futex_wake();
			break
		:: armed != word ->
#ifndef NO_FENCE_OVERTAKEN
			fence();
#endif
			word = armed;
			if
			:: !(word & ARMED) -> break
			:: else
			fi
		od
	fi
}

/* far__park_wake(), by somebody who publishes */
active [WAKERS] proctype waker()
{
	byte n, word, i;

	do
	:: n < ROUNDS ->
#ifdef SWAPPED
		word = armed;
#endif
		atomic { n++; buffer[WAKER]!n };		/* W1 */
#ifdef ALWAYS_FENCE
		fence();					/* W2 */
#endif
#ifndef SWAPPED
		word = armed;					/* W3 */
#endif
		if
		:: (word & (ARMED | BARE)) != BARE -> wake_slowly()
		:: else
		fi;
		word = 0
	:: break
	od
}

/* ------------------------------------------------------------ sleeping */

#define SLEEPER (_pid - 2 * WAKERS)

#ifdef NOT_BARE_IS_ENOUGH
#define NOT_ENOUGH BARE
#else
#define NOT_ENOUGH (BARE | UNSETTLED)
#endif

/* The wakers make their barriers one after the other. */
inline membarrier()
{
	empty(buffer[0]);
	empty(buffer[WAKERS - 1])
}

inline ask_for_fences()
{
	atomic { word = armed; fenced = (word & ~BARE) | UNSETTLED };
	if
	:: atomic { (word & (BARE | UNSETTLED)) && armed == word -> armed = fenced };
#ifndef SETTLED_AT_ONCE
		membarrier();
#endif
#ifdef SETTLED_ANYHOW
		armed = armed & ~UNSETTLED
#else
		do
		:: word = armed;
			if
			:: (word ^ fenced) & ~ARMED -> break
			:: atomic {
					!((word ^ fenced) & ~ARMED) && armed == word ->
					armed = word & ~UNSETTLED
				};
				break
			:: else
			fi
		od
#endif
	:: else
	fi;
	atomic { word = 0; fenced = 0 }
}

/* far__park_sleep(), with arm() */
active [SLEEPERS] proctype sleeper()
{
	byte want, from, word, fenced;

	do
	:: atomic { want < ROUNDS -> want++ }				/* leave one out */
	:: atomic {
			want < ROUNDS -> want++;
			if
			:: from = 0
			:: from = WAKERS - 1
			fi
		};
		do
		::
#ifndef ALWAYS_FENCE
			ask_for_fences();
#endif
			atomic { armed = armed | ARMED; word = armed };	/* S1 */
#if !defined NO_MEMBARRIER && !defined ALWAYS_FENCE
			if
			:: word & NOT_ENOUGH -> membarrier()		/* S2 */
			:: else
			fi;
#endif
			if
			:: item[from] >= want -> break			/* S3 */
			:: else
			fi;
			if						/* S4 */
			:: atomic { armed == word -> asleep[SLEEPER] = true };
end_unpublished:		!asleep[SLEEPER] || item[from] >= want;
				!asleep[SLEEPER]		/* who is forgotten stays here */
			:: armed != word
			:: true						/* woken without cause */
			:: true -> break				/* the deadline has passed */
			fi;
			word = 0
		od;
		atomic { word = 0; from = 0 }
	:: break
	od
}
