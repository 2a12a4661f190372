/*
 * How the zygote kills a slave for a call that is late or was cancelled, for the
 * model checker spin: kill_if_guilty() in core/zygote.c, await_judgement() in
 * core/serve.c. The slave is killed while it runs that call, or has done nothing
 * since, and never when it has begun the next; and it is not kept waiting for ever.
 *
 * The slave runs the call in question, which ends at some time or not at all, and
 * goes on to the next. Stores are buffered, as on x86-64 (TSO): the answer, and the
 * zygote's word that the slave is doomed, reach the memory later, at any time. The
 * zygote's barrier empties both buffers, as membarrier() does. Whoever cannot go on
 * has ended, or runs a call, or is dead: valid ends (the labels that begin with
 * "end"); a slave that waits for its judgement for ever is an invalid one.
 *
 * Options, one for each part that can be left out:
 *	NO_BARRIER	between the zygote's word and its second look
 *	NO_SECOND_LOOK	which finds the call ended meanwhile
 *	LEFT_DOOMED	though it was found innocent
 *	LOOKS_FIRST	the slave, and answers then, as if by the compiler
 */
bool answer_on_its_way, answered;	/* the call in question */
bool doom_on_its_way, doomed;
bool killed, next_is_begun;

active proctype memory()
{
end_idle:
	do
	:: atomic { answer_on_its_way -> answer_on_its_way = false; answered = true }
	:: atomic { doom_on_its_way -> doom_on_its_way = false; doomed = true }
	od
}

/* A dead one makes no step. */
#define STEP(what) if :: atomic { !killed -> what } :: killed -> goto end_dead fi
#define AWAIT(what) if :: !killed && (what) :: killed -> goto end_dead fi

active proctype slave()
{
#ifdef LOOKS_FIRST
	AWAIT(!doomed);
#endif
	if
	:: STEP(answer_on_its_way = true)
	:: STEP(skip);
end_runs_for_ever:
		killed
	fi;
#ifndef LOOKS_FIRST
	AWAIT(!doomed);
#endif
	STEP(next_is_begun = true);
end_dead:
	skip
}

active proctype zygote()
{
	if
	:: answered -> goto end_innocent
	:: else
	fi;
	doom_on_its_way = true;
#ifdef NO_BARRIER
	skip;
#else
	atomic {
		doom_on_its_way = false;
		doomed = true;
		if
		:: answer_on_its_way -> answer_on_its_way = false; answered = true
		:: else
		fi
	};
#endif
#ifndef NO_SECOND_LOOK
	if
	:: answered ->
#ifndef LEFT_DOOMED
		doomed = false;
#endif
		goto end_innocent
	:: else
	fi;
#endif
	atomic { killed = true; assert(!next_is_begun) };
end_innocent:
	skip
}
