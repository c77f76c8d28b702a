"""What customers ask Juniper Lane, a made-up small shop, and what its assistant answers.

Knows the wording only: `(a|b|)` is a choice, `{item}` a slot. Refuses to know how a choice is drawn,
how turns are joined, or that a model exists.
"""

# ruff: noqa: E501  (one wording a line, however long: that is how they are read and compared)

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Topic:
    """One thing people ask: `replies` answer it, `numbered` once the order number is known.

    Replies have no slots: a model of this size does not copy names and numbers reliably.
    """

    intent: str
    asks: tuple[str, ...]
    replies: tuple[str, ...]
    numbered: tuple[str, ...] = ()


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines() if line.strip())


def topic(intent: str, asks: str, replies: str, numbered: str = "") -> Topic:
    """A `Topic` from blocks of text, one wording a line."""
    return Topic(intent, _lines(asks), _lines(replies), _lines(numbered))


ORDER_STATUS = topic(
    "order_status",
    """
    (I|we) (expected|was expecting|hoped for) (my|the) (parcel|package|order|{item}) (on {day}|last week|days ago|by now) (and it is not here|but nothing came|)
    (nothing|no parcel|no package|no delivery) (has come|has arrived|came|showed up) (yet|so far|for {span}|since I ordered|)
    (the|my) (parcel|package|order) (was|is) (supposed|meant|due|scheduled) to (be here|arrive|come) (on {day}|last week|by now|{ago})
    (how come|why is it that) (my|the) (order|parcel|{item}) (has not arrived|is not here|is still on its way)
    (I keep|I'm) (looking out|waiting at home|checking the mail) for (my|the) (parcel|package|{item}) (and nothing comes|every day|since {day}|)
    (did|have) you (already|) (send|sent|ship|shipped|mail|mailed) (my|the) (order|parcel|{item}|package)
    (is|was) my (order|parcel|{item}) (sent|shipped|packed|dispatched|handed to the courier|with the courier) (already|yet|now|)
    (where|in which city|at which depot) is (the|my) (parcel|package|courier with my {item}|shipment) (right now|at the moment|now)
    my (neighbors|friends|{person}) (got|received) (their|a) (parcel|order) but (mine|my own) (is missing|did not come|has not arrived)
    (can|could) you (see|check|tell|look|find out|say) (where|when|how far|whether) (my|the) (order|parcel|package|{item}) (is|comes|arrives|got|left)
    (how long|how many days) until (my|the) (order|parcel|package|{item}) (arrives|is here|comes|reaches me)
    (where is|where's) my (order|parcel|package|delivery|{item})
    (where is|where's) the {item} (I|that I|which I) (ordered|bought|paid for) {ago}
    (when|what day) will my (order|parcel|package|{item}) (arrive|come|get here|be here|show up|be delivered)
    when (can|do|should) I (expect|get|receive) (my|the) (order|parcel|package|{item})
    my (order|parcel|package|delivery|{item}) (has not|hasn't|still has not|still hasn't|did not|didn't) (arrived|come|shown up|turned up|reached me)
    I am (still|) waiting for (my|the) (order|parcel|package|delivery|{item})
    I have been waiting for (my|the) (order|parcel|package|{item}) (since {day}|for {span}|for ages|forever)
    (any|is there any) (news|update|word|information) (on|about) (my|the) (order|parcel|package|delivery|{item})
    (has|did) my (order|parcel|package|{item}) (shipped|left|been sent|been shipped|been dispatched|gone out|ship) (yet|already|)
    (can you|could you|please) (track|trace|find|locate|look up) (my|the) (order|parcel|package|delivery|{item})
    (can I|how can I|how do I|where can I) (track|follow|trace) (my|the) (order|parcel|package|shipment|delivery)
    (what is|what's) the status of (my|the) (order|parcel|package|shipment|{item})
    (what is|what's) (happening|going on|up) with (my|the) (order|parcel|package|delivery|{item})
    what happened to (my|the) (order|parcel|package|delivery|{item})
    (I want|I would like|I'd like) to (know|ask) where (my|the) (order|parcel|package|{item}) is
    (do you know|can you tell me|tell me|could you say) where (my|the) (order|parcel|package|{item}) is
    (do you know|can you tell me|tell me) when (my|the) (order|parcel|package|{item}) (arrives|comes|will be here|will arrive)
    the (tracking|tracking page|tracking link|tracking number) (does not work|doesn't work|shows nothing|says nothing|has not changed|hasn't moved|hasn't been updated) (since {day}|for {span}|)
    I (have no|never got a|did not get a|didn't get any|can't find the) tracking (number|link|code|email)
    it (says|said) delivered but (I have nothing|nothing came|nothing is here|I never got it|there is no parcel)
    (the|my) (order|parcel|package|{item}) (is|seems|looks) (late|lost|delayed|stuck|overdue|missing in the mail)
    (I think|I fear|I'm afraid) (my|the) (order|parcel|package|{item}) (is|got|was) (lost|stuck|delayed) (in the mail|on the way|somewhere|)
    I ordered (a|the) {item} {ago} and (nothing has come|it is not here|it's still not here|I have heard nothing|it has not arrived|still nothing)
    it has been {span} and (my|the) (order|parcel|package|{item}) (is not here|isn't here|has not come|still has not arrived)
    (the courier|the driver|the postman|the carrier|nobody|no one) (never came|did not come|didn't show up|has not brought my parcel|came with my parcel)
    why is (my|the) (order|parcel|package|{item}|delivery) (so late|taking so long|not here yet|delayed|still not here)
    (is|are) my (order|parcel|package|{item}) (on its way|on the way|coming|in transit|out for delivery) (yet|already|)
    how (far|far along) is my (order|parcel|package|shipment)
    how (long|much longer) (do I have to wait|must I wait|until I get|before I get|till I receive) (for my|my) (order|parcel|package|{item})
    (order|parcel|shipment) (status|update|tracking) (please|)
    (status|tracking) of (my|the) (order|parcel|package|{item})
    (where is|where's|where are) my (stuff|things|goods|purchase|items|order|boxes|parcels)
    (my|the) (stuff|things|goods|items) (have not|haven't|did not|didn't) (arrived|come)
    I (need help|have a problem|have a question|have trouble|need some help) with (my|an) (order|parcel|delivery)
    (where|tracking|track|order|parcel|package|delivery|my order|my parcel)
    (can you|could you|please) help me (with my order|find my parcel|find my order|with my delivery)
    (check|please check|can you check|could you check) (on|) (my order|my parcel|the status of my order|order {order}|where my parcel is)
    (where is|where's|what about|status of|any news on|track) order {order}
    order {order} (has not arrived|hasn't come|is late|is not here yet|where is it|still not here)
    my (order|order number|number) is {order}, where is (it|my parcel|my package|my {item})
    I (can't|cannot) find my (parcel|package|delivery) (anywhere|at the door|)
    I was (told|promised) (my|the) (parcel|order|{item}) (would come|would arrive|would be here) (on|by) {day}
    (did|has) my (order|parcel|{item}) (get|got|gotten) lost
    (will|does) my (order|parcel|package|{item}) (arrive|come|get here) (by|before|on) {day}
    the (parcel|package|shipment|order) (has been|is) (sitting|stuck) (at the depot|at the warehouse|in the same place|with the courier) (since {day}|for {span}|)
    """,
    """
    I can look into that. (Please send me|Could you send me|Could you tell me) your order number, and I'll check the tracking for you.
    I'm sorry for the wait! (What is|Could you give me) your order number? Then I can check the tracking.
    Let me help you find it. You'll find the tracking link in your confirmation email, or you can send me your order number.
    Parcels usually arrive in 2 to 4 working days. If you send me your order number, I'll check the tracking.
    Sorry that it is not there yet. With your order number I can check the tracking right here.
    """,
    """
    Thank you. The tracking shows that your order is on its way and should arrive within 2 working days.
    Thanks! I checked the tracking: your order has left our warehouse and is with the courier.
    I found your order. The tracking says that it is with the courier, so it should reach you within 2 working days.
    """,
)

SHIPPING_COST = topic(
    "shipping",
    """
    what (do|would|will) (I|we) (have to pay|pay|need to pay) (for shipping|for delivery|to have a {item} sent|if you send it to {place})
    (is|would) (shipping|delivery) (more expensive|cheaper|extra|free) (for a {item}|to {place}|for big things|if I order more|for small orders)
    (do|will) you (charge|take|ask) (extra|more|anything|a fee) for (shipping|delivery|postage|big parcels|heavy things)
    (give me|tell me|I need|I want to know) (the|your) (shipping|delivery) (price|cost|costs|fee|rates) (to {place}|for {number} {item}s|)
    (above|over|from) (what|which) (amount|sum|price) (is|do I get) (the|) (shipping|delivery) (free|for free)
    how much (is|does|do you charge for) (shipping|delivery|postage|express shipping) (cost|)
    how much does it cost to (ship|deliver|send|mail) (a|the|) {item} (to {place}|)
    (what is|what's|what are) (the|your) (shipping|delivery|postage) (cost|costs|fee|fees|price|rates|charge)
    (is|do you offer|do you have|can I get) (shipping|delivery|postage|free shipping|free delivery) (free|)
    (do I|will I|must I) (have to|need to|) pay (for|extra for|anything for) (shipping|delivery|postage)
    (from|at) what (amount|sum|total|order value) is (shipping|delivery) free
    (what would|what does) (shipping|delivery|postage) (to {place}|for a {item}) cost
    (is there|do you take) a (delivery fee|shipping fee|delivery charge|shipping charge|minimum for free shipping)
    (shipping|delivery|postage) (costs|cost|fees|prices|price|fee) (to {place}|for a {item}|)
    how (expensive|pricey) is (shipping|delivery|sending a {item}) (to {place}|)
    (when|how) do I get free (shipping|delivery|postage)
    (are|is) (shipping|delivery) (costs|fees|charges|) included (in the price|)
    (shipping|postage|shipping costs|free shipping)
    """,
    """
    Standard shipping costs $5, and shipping is free for orders over $50.
    Shipping is $5 for each order. From $50 on, shipping is free.
    Good question! Standard shipping costs $5, express shipping costs $9, and over $50 standard shipping is free.
    """,
)

SHIPPING_TIME = topic(
    "shipping",
    """
    (how many|in how many) (days|working days) (do you need|does it take you|until you deliver|will a parcel take) (to {place}|)
    (can|could|would) (I|we) (have|get) (a|the) {item} (by|before|until) {day} (if I order now|with express|)
    (do you|can you) (send|ship|deliver) (by|with) (express|courier|plane|truck|mail|post)
    (what|how) (is|about) (the fastest|the quickest|the slowest) (shipping|delivery|way to get it|way to send a {item})
    (on what|on which) days do you (deliver|ship|send parcels)
    how (long|many days) does (shipping|delivery|standard shipping|express delivery|postage) (take|usually take|normally take) (to {place}|)
    how (fast|quickly|soon) (do you|can you|does your shop) (ship|deliver|send things|send out orders|send orders) (to {place}|)
    how (long|many days) (will it take|does it take) to (ship|deliver|send) (a|the|) {item} (to {place}|)
    (what is|what's|what are) (the|your) (shipping|delivery) (time|times|speed|window|options|methods)
    (do you|can you) (offer|have|do) (express|next day|fast|overnight|same day) (shipping|delivery)
    (is|would) (express|next day|overnight|faster) (shipping|delivery) (possible|available|an option|work)
    if I order (a {item}|now|on {day}), (when|on what day) (would it|does it|will it) (arrive|come|get here|be shipped)
    if I (buy|order) (a|the) {item} (now|on {day}), (when|how soon) (would|will|do) I get it
    (do you|will you) (ship|deliver) on (weekends|Saturdays|Sundays|holidays|{day})
    (which|what) (courier|carrier|delivery company|delivery service) do you (use|ship with|work with)
    (shipping|delivery) (time|times|speed) (to {place}|for a {item}|)
    who (delivers|brings) your (parcels|orders|packages)
    """,
    """
    Standard shipping takes 2 to 4 working days. Express shipping arrives the next working day.
    Our shipping takes 2 to 4 working days, and with express shipping your order comes the next working day.
    We send orders out every working day. Standard shipping takes 2 to 4 working days, express shipping only 1.
    """,
)

SHIPPING_PLACE = topic(
    "shipping",
    """
    (could|can|would) (you|a parcel) (also|) (deliver|ship|send|go|be sent) to (my {person} in {place}|{place}|a friend in {place}|an address in {place})
    (does|do) (shipping|your delivery|your parcels|you) (work for|reach|cover|include|go to) {place} (too|as well|)
    (are|is) (there|) (deliveries|shipping|orders|delivery) (to|from) {place} (possible|allowed|offered|)
    (only|just) in this country or (also|even) (abroad|in {place}|to other countries), where do you (deliver|ship)
    (do you|can you|will you|does your shop) (ship|deliver|send|mail) (to|into) {place}
    (do you|can you|will you) (ship|deliver|send|mail) (orders|parcels|things|a {item}|) (abroad|overseas|internationally|worldwide|to other countries|outside the country)
    (is|would) (shipping|delivery) to {place} (possible|available|a problem)
    (which|what) countries do you (ship|deliver|send) to
    (where|where all) do you (ship|deliver|send) to
    I live in {place}, (do you ship there|can you deliver to me|will you ship to me|do you deliver here)
    (can I|could I|is it possible to) (order|buy|get) (a {item}|something|) (from|in) {place}
    (can|could) you (send|ship|deliver|mail) (a|the) {item} to {place}
    (international|overseas|worldwide) (shipping|delivery|orders)
    I would like to (have|get) (a|the) {item} (sent|shipped|delivered) to {place}
    (is|are) {place} (on your list|in your delivery area|covered by your shipping)
    my {person} lives in {place}, (can you ship there|do you deliver there|is shipping possible)
    """,
    """
    Yes, we ship there! International shipping takes 5 to 10 working days and costs $15.
    We ship to most countries. International shipping takes 5 to 10 working days and costs $15.
    Yes, international shipping is possible. It costs $15 and takes 5 to 10 working days.
    """,
)

REFUND_ASK = topic(
    "refund",
    """
    (I|we) (would rather|prefer to|'d rather) (have|get) (the|my|our) money (back|) (than|instead of) a (new {item}|replacement|voucher|gift card)
    (the|this) {item} (is|was) (bad|awful|not worth it|a disappointment|too expensive|not good enough), (I want|give me|please send me|can I get) (a refund|my money back|the money back)
    (how|when|where|what) (do I|must I|can I) (do|write|ask|apply) to get (a refund|my money back|the price back|my money)
    (what|which) (do I need|is needed|steps are needed) for a refund
    (please|kindly|could you) (pay|transfer|send|give) (the|my) (money|price|amount|sum|${price}) back (to me|to my card|to my bank|)
    (will|would|do) (I|we) (get|see|have) (the full price|all my money|everything|the whole amount) back
    (is|would) (a|my|the) refund (possible|okay|an option|allowed) (for the {item}|for my order|after {span}|)
    I (want|need|demand|would like|request|expect) (a|my|the) (full refund|refund|partial refund) (for (my|the|this) {item}|for my order|)
    I (want|need|would like) my money back (for (my|the|this) {item}|for my order|)
    (can I|could I|may I|how can I|how do I|is it possible to) (get|have|receive|claim|ask for|request) (a refund|my money back|a full refund) (for (my|the) {item}|)
    (please|can you|could you) (refund|reimburse|repay) (me|my order|my {item}|the {item}|my money|my purchase)
    (give|send|pay) me (my money|the money|my cash) back (please|)
    (am I|are we) (entitled to|eligible for|due|allowed) (a refund|my money back|a reimbursement)
    (would you|will you|can you) (give|return|pay|hand) (me|) (my money|the money) back (for the {item}|)
    I (do not|don't) want (a replacement|another one|a new {item}|store credit), I want (my money|a refund|my money back)
    I (paid|spent) ${price} (for|on) (a|the|this) {item} and (want|would like|need) (it|that|my money|the money) (back|refunded)
    (what is|what's|how does) your refund (policy|rule|process|procedure)
    how (do|does) (refunds|the refund|your refund policy|a refund|getting money back) (work|)
    (do you|does your shop) (give|offer|do|make) (refunds|full refunds|money back|a money back guarantee)
    the {item} is (not what I wanted|a disappointment|too small|not good|bad) and I (want|would like) (a refund|my money back|to be refunded|to get my money back)
    I (changed my mind|am not happy|am unhappy|am not satisfied) (about|with) the {item} and (want|would like) (a refund|my money back|the money back)
    (refund|refund request|money back|reimbursement) (please|for my {item}|for the {item}|for order {order})
    (refund|reimburse) (me|) (for|) (order {order}|the {item}|my order)
    I am (asking for|writing about|looking for|here for) (a refund|my refund|my money back|a reimbursement)
    I (would like|want) to be (refunded|reimbursed|paid back) (for my {item}|for my order|for order {order}|)
    (can|could) (the|my) {item} be (refunded|reimbursed)
    (can|could) you put the money (back|) (on|onto|to) my (card|bank account)
    (order|my order) {order}: (I want a refund|refund please|please give me my money back)
    """,
    """
    I can help with your refund. (Could you send me|Could you tell me|What is) your order number?
    Of course. Once you send me your order number, I'll start the refund.
    I'm sorry that you're not happy with it. Send me your order number, and I'll request the refund for you.
    You can have a refund within 30 days of delivery. What is your order number?
    """,
    """
    Thank you. I have started your refund. The money will be back on your card within 5 working days.
    Thanks! Your refund is on its way and takes up to 5 working days.
    I have requested the refund. You'll see the money on your card within 5 working days.
    """,
)

REFUND_WHERE = topic(
    "refund",
    """
    (your|the) (email|letter|colleague) (said|says|promised) (that|) (my|the) (refund|money) (was sent|is coming|would come), (but|and) (nothing is here|I see nothing|it is not there)
    (I|we) (do not|don't|can't|cannot) see (my|the|any) (refund|money|repayment) (on my card|in my account|on my statement|yet)
    (my|the) (bank|card) (shows|has|sees) no (refund|money from you|repayment) (yet|)
    (you|your shop) (have|has|had) the {item} (back|again) (since {day}|for {span}|) (and|but) (I have no money|my money is missing|where is my money|the refund is missing)
    (it is|it's) (been|) {span} (since|after) (I sent|I returned|the return of) (the|my) {item} and (no refund|no money|my refund is missing|where is the refund)
    (where is|where's|what about) my (refund|money|money back|reimbursement)
    when (will|do|can) I (get|see|receive|have) my (refund|money back|money|cash back)
    my refund (has not|hasn't|still has not|did not) (arrived|come|come through|shown up|been paid) (yet|)
    I (sent|mailed|shipped|returned|gave) (the|my) {item} (back|) {ago} and (have not got|still wait for|did not get|never got) (my money|my refund|the refund|a refund)
    I (am|have been) (still|) waiting for my (refund|money) (since {day}|for {span}|)
    how long (does|will) (a|the|my) refund (take|need)
    (has|was) my (refund|money) (been sent|been paid|sent|processed|issued) (yet|)
    (you|your shop) (promised|owe) me (a refund|my money back|money) (and nothing came|and I have nothing|)
    (the|my) money is (still|) not (back|) (on my card|in my account|there)
    (any news|an update|what's happening) (on|about|with) my refund
    (is|are) my (refund|money) (coming|on the way|processed)
    why (is|has) my refund (so slow|not come|not here|taking so long|not been paid)
    (refund|refunds|my refund|money back)
    I got (only half of|just a part of|the wrong amount for) my (refund|money) (back|)
    (refund|money back) (status|update) (please|)
    """,
    """
    A refund takes up to 5 working days. If you send me your order number, I'll check where yours is.
    I'm sorry for the wait! A refund takes up to 5 working days. What is your order number?
    Let me check your refund. Could you send me your order number?
    """,
    """
    Thank you. Your refund has been sent and should be on your card within 5 working days.
    I checked your order: the refund was sent, and your bank needs up to 5 working days.
    """,
)

RETURN = topic(
    "return",
    """
    (the|my|this) {item} (is|feels|looks) (too big|too small|not right|wrong for me|uncomfortable|too heavy|ugly), (how do I|can I|I want to|let me) (send|give|bring|return) it (back|)
    (how|where|when) (can|do|may|should) (I|we) (give|send|bring|take|mail) (the|my|an|this) (item|{item}|order|things) back
    (can|could|may|will) (you|I|we) (exchange|swap|change|trade) (it|the {item}|them) (for|against|to) (a bigger size|a smaller size|another color|{color}|size {number}|something else|a different model)
    (I|we) (have|got) (two|too many|a second|the same) {item}s (now|) (and want to|and would like to|, can I) (return|send back|give back) (one|one of them)
    (what|which) (is the deadline|are the rules|are the conditions|is the time limit) for (a return|returns|sending things back)
    (until|by) (when|what day|which day) (do|must|can|should) (I|we) (return|send back) (it|the {item}|things)
    (please|could you|can you) (take|accept|collect|pick up) (the|my) {item} (back|as a return|again)
    (I|we) (need|want|would like|ask for) (a|the|my) (label|sticker|form|slip) (to|so I can|for) (send|sending|return|returning) (it|the {item}|something|my order) (back|)
    (that|this|the) {item} (was|is) (a gift|not for me|not my style|not my taste|no use to me), (may I|can I|I would like to) (return|send|give) it (back|)
    I (want|need|would like|wish|plan) to (return|send back|give back|bring back) (my|the|this|a) {item}
    I (want|need|would like) to send (my|the|this) {item} back (to you|)
    (can I|could I|may I|how can I|how do I|how would I) (return|send back|give back|bring back) (a|my|the|this) {item}
    (can I|could I|may I) send (the|my|this) {item} back
    (how do I|how can I|where do I) (return|send back) (something|an item|my order|a product|things|order {order})
    (what is|what's|how does) your return (policy|process|rule|procedure) (work|)
    how (long|many days) do I have to (return|send back) (a|the|my|) {item}
    (until when|how late) can I (return|send back) (the|my) {item}
    (do you|does your shop) (take|accept|allow) (returns|things back|items back|the {item} back)
    (are|is) (returns|sending things back|a return) (free|possible|allowed|easy|free of charge)
    (the|my|this) {item} (does not|doesn't|did not) (fit|suit me|match|look good on me|go with my room) (and I want to return it|and I want to send it back|, can I return it|)
    (the|my|this) {item} is (too big|too small|too large|too long|too short|too tight|too wide|the wrong size for me)
    (can I|could I|how can I|I want to|I would like to) (exchange|swap|trade) (my|the|this) {item} (for a (bigger|smaller|different|{color}) one|for another size|for another color|)
    I (ordered|bought|took|chose) (the wrong size|a size too small|a size too big|the wrong color|too many|one {item} too many)
    I need (a|another|a different) (bigger|smaller|larger|{color}|size) (size|{item}|one)
    I (do not|don't) (need|want|like) (the|this|my) {item} (anymore|any more|after all) and (want|would like) to (send it back|return it)
    I (changed my mind|have second thoughts) about (the|my) {item}, (how do I return it|can I send it back|I want to return it)
    (where|to what place) (do|should|must) I send (my return|the return|returns|the {item} back to)
    (can you|could you|please) (send|email|give|print) me (a|the|) (return label|return slip|return form|return sticker)
    I (need|lost|cannot find|can't print) (a|the|my) return (label|slip|form|sticker)
    (do I|must I) (need|keep|have) the (original box|box|packaging|receipt|tag|wrapping) (for a return|to return something|to return the {item})
    it was a gift (and I want to return it|, can I return it|and it does not fit|but I already have one), (can I|how do I) (return it|exchange it|send it back)
    my {person} (does not like|doesn't like|already has|does not need) the {item}, (can I return it|can I send it back|can I exchange it|how do I return it)
    I would (rather have|prefer) (a {color} one|a bigger one|a smaller one|another size), (can I exchange|can I swap|is an exchange possible)
    (return|exchange|send back) (order {order}|my {item}|the {item}) (please|)
    (return|returns|exchange|sending back|return policy|return label)
    (is it too late|can I still|is there still time) to (return|exchange|send back) (the|my) {item} (I bought {ago}|)
    can I (return|exchange) (a|the) (used|opened|worn|washed) {item}
    I (opened|used|wore|tried) the {item} (once|), can I (still|) (return|send back|exchange) it
    (the color|the size|the shape|the fabric) of (the|my) {item} is (not right|not for me|not what I expected|different from the picture)
    """,
    """
    You can return your item within 30 days. Just send me your order number, and I'll email you a free return label.
    No problem! Every return is free within 30 days. What is your order number?
    Of course. I'll need your order number, then I can send you a return label. A different size or color is possible too.
    You have 30 days for a return. Put the item back in its box, and I'll email you a return label once I have your order number.
    """,
    """
    Thank you. I have emailed you a free return label. Please send the item back within 30 days.
    Thanks! Your return is set up, and the return label is in your email.
    All set: the return label is on its way to your inbox.
    """,
)

CANCEL = topic(
    "cancel",
    """
    (please|kindly|could you please) (take|remove|delete|withdraw|drop) (my|the) (order|purchase|{item}) (from your list|from the system|out of the order|again|)
    (I|we) (don't|do not|no longer) (want|need) (it|that|the {item}|my order) (to be sent|to be shipped|anymore), (please stop|please cancel|cancel) (the order|it)
    (my|our) {person} (also|already) (bought|ordered|has) (one|a {item}|the {item}), so (cancel|please cancel|I want to cancel|stop) (mine|my order|our order|the order)
    (can|may|could) (I|we) (still|) (get out of|step back from|drop|undo) (the|my|this) (order|purchase)
    (the|my) (order|purchase) (was|is) (a mistake|an accident|wrong|a slip), (please|can you) (cancel|stop|undo|delete) it
    (not|never) (send|ship|pack) (it|my order|the {item}), (I am canceling|cancel it|I cancel|I want to cancel)
    (I|we) (hereby|) cancel (my|the|our) (order|purchase|order of {day}|{item})
    (what|how) (do I|must I|can I) (do|click|write) to cancel (an order|my order|the {item}|it)
    I (want|need|would like|wish|have) to (cancel|stop|call off|undo|withdraw) (my|the|this|an) (order|purchase|order of a {item})
    (please|can you|could you|can you please) (cancel|stop|call off|undo) (my|the|this) (order|purchase|{item} order|order for the {item})
    (please|can you|could you) cancel (it|order {order}|order number {order}|the {item}|everything I ordered)
    (cancel|stop|call off|undo) (my order|order {order}|the order|my purchase|my {item} order) (please|)
    (can I|could I|may I|how can I|how do I|is it possible to|am I able to) (cancel|stop|call off|undo|take back) (my|an|the|this) (order|purchase)
    (can I|is it possible to) (still|) (cancel|stop) (the|my) (order|{item}) (I placed|I made|I ordered|) {ago}
    is it too late to (cancel|stop|call off) (my order|the order|the {item}|it)
    I (do not|don't|no longer) (want|need) (my order|the order|what I ordered|the {item} I ordered) (anymore|any more|), (please cancel it|cancel it|can you cancel|please stop it)
    I (ordered|bought) (the {item}|it|something|two of them|the same thing twice) by (mistake|accident), (please cancel|can I cancel|cancel it please|can you stop it)
    I (clicked|pressed) (buy|order|the button) (twice|by mistake|by accident|too early), (please cancel|can you cancel one|cancel the second order)
    I (placed|made) (two orders|the order twice|a double order|the same order twice) (by mistake|by accident|), (cancel one|please cancel one of them)
    (don't|do not|please do not|please don't) (send|ship) (my order|the {item}|it|the parcel), I (changed my mind|want to cancel|don't want it|do not need it)
    I (changed my mind|have changed my mind) (about|on) (my order|the order), (please cancel|cancel it|can I cancel)
    I found (it|the {item}|the same {item}) (cheaper|somewhere else|in another shop), (please cancel my order|I want to cancel|cancel my order)
    (can|could) (my|the) order be (canceled|stopped|called off)
    (stop|hold|halt) (the shipment|the delivery|my order) (before it leaves|before it ships|please), I (don't want it|want to cancel)
    (order|my order) {order}: (cancel it|please cancel|I want to cancel|cancel)
    (cancel|cancellation|cancel it|cancel order|stop it)
    I want out of (my order|the order|the purchase)
    (remove|delete) my (order|last order|purchase) (please|from the system|)
    (what is|what's) your cancellation (policy|rule|fee|period)
    (is there|do you take) a (cancellation fee|fee for canceling|charge for canceling)
    how (long|late) can I cancel (an order|my order|)
    """,
    """
    I can cancel it as long as it has not been packed. (What is|Could you send me) your order number?
    No problem, we can cancel your order for free before it is packed. Please send me the order number.
    Sure, I can cancel that for you. Which order number is it?
    """,
    """
    Done. I have canceled your order, and you will not be billed for it.
    Thank you. Your order is canceled now, and you'll get an email about it.
    Your order was not packed yet, so I have canceled it for you.
    """,
)

DAMAGED = topic(
    "damaged",
    """
    (when|as) I (opened|unpacked) (the box|the parcel|the package|it), (the|my) {item} (was|had) (broken|in pieces|damaged|a crack|a hole|cracked|smashed|scratches)
    (one|a) (leg|handle|wheel|corner|button|part|side|strap|foot) of (the|my) (new|) {item} (is|was|came) (broken|loose|bent|cracked|off|missing a screw|damaged)
    (the|my) (new|) {item} (broke|stopped|cracked|tore|leaks|burned out|fell apart) (after|within|in) {span}
    (the|my) (new|) {item} (leaks|smokes|makes a strange noise|wobbles|smells burnt|gets too hot|drips|rattles|does nothing) (all the time|since {day}|from the first day|)
    (there|here) (are|were) (scratches|cracks|holes|dents|stains|tears|chips) (on|in|all over) (the|my) (new|) {item}
    (I|we) (can't|cannot) (use|open|close|turn on|wear|light) (the|my) (new|) {item}, (it is broken|it's damaged|it is defective|something is broken)
    (what|who) (do I do|can help|pays|can I do) (if|when|now that) (the|my) {item} (is broken|is damaged|came broken|does not work|broke)
    (the|my) {item} (from|of|in) (order {order}|my order|the parcel|your shop) (is|was|arrived) (broken|damaged|cracked|defective|not working)
    my {item} (arrived|came|was delivered|got here) (broken|damaged|cracked|smashed|in pieces|scratched|dented|torn|shattered|ripped|bent|chipped)
    the {item} (is|was) (broken|damaged|cracked|smashed|scratched|dented|torn|faulty|defective|shattered|ripped|bent|chipped|leaking)
    the {item} (I got|I received|you sent|you sent me|that came) (is|was) (broken|damaged|cracked|faulty|defective|scratched|torn|dented|in pieces)
    (I got|I received|you sent me|you delivered|I was sent|I opened the box and found) a (broken|damaged|cracked|smashed|scratched|faulty|defective|dented|torn) {item}
    (the|my) {item} (does not|doesn't|will not|won't) (work|turn on|switch on|start|close|open|charge) (at all|anymore|properly|)
    (the|my) {item} (stopped working|broke|fell apart|cracked|tore|died|came apart|failed) (after {span}|after one use|on the first day|{ago}|when I used it|)
    (there is|there's|I found) a (hole|crack|scratch|tear|dent|chip|stain|leak|defect) in (my|the) {item}
    (the|my) {item} (has|came with|arrived with|got) a (hole|crack|scratch|tear|dent|chip|stain|leak|defect|broken part|loose part)
    the (handle|zipper|lid|leg|strap|cord|button|screw|glass|seam|switch) (of|on) (my|the) {item} (is broken|broke|came off|fell off|is missing a part|is cracked|snapped|is loose)
    (the|my) {item} is (leaking|falling apart|not working|already broken|rusty|moldy|full of scratches|dead|no good, it's broken)
    (the parcel|the package|the box|my order) (arrived|came|was) (crushed|wet|smashed|damaged|torn|open) and the {item} (is broken|is damaged|is cracked|got damaged|broke|inside is ruined)
    everything in the (box|parcel|package) (was|is) (broken|smashed|in pieces|damaged|shattered)
    the {item} (got|was) (damaged|broken|crushed|smashed) (in the mail|on the way|during shipping|in transit|by the courier)
    what (do I do|can I do|should I do) (with|about) a (broken|damaged|faulty|defective) {item}
    I (want|need|would like) to report a (broken|damaged|faulty|defective) {item}
    (is there|do I have|what about) a (warranty|guarantee) (on|for) (a|the|my) (broken|faulty|defective|) {item}
    (can you|could you) (repair|fix|mend|replace) (my|the) (broken|damaged|cracked|torn|) {item}
    I (need|want|would like) a (replacement|new one) (for my|because my|since the) (broken|damaged|cracked|faulty) {item} (is useless|)
    half of the (glasses|plates|cups|parts|candles) (are|were|came) (broken|cracked|smashed)
    (order|my order) {order} (arrived|came) (broken|damaged|smashed|in pieces)
    (broken|damaged|defective|it's broken|it is damaged|broken {item}|damaged parcel)
    (my|our) {person} (dropped|broke) the {item} and (now it is broken|it broke)
    it (arrived|came) (broken|damaged|in pieces|with a crack|scratched|with a hole)
    (it|this) (does not|doesn't) work, it is (broken|defective|faulty)
    bad quality: the {item} (broke|tore|fell apart|cracked) (after {span}|on day one|right out of the box)
    """,
    """
    I'm so sorry that it is damaged! Send me your order number, and we'll send a replacement for free.
    Oh no, that should not happen. You'll get a free replacement. What is your order number?
    I'm very sorry about the damage. Could you send me your order number and a photo? Then I'll arrange a replacement.
    That is not the quality we want. With your order number I can send you a replacement at no cost.
    """,
    """
    Thank you. A free replacement leaves our warehouse on the next working day. You can keep the damaged one.
    Thanks, and sorry again. I have ordered a replacement, and it costs you nothing.
    I have set up a replacement for you. It should reach you in 2 to 4 working days.
    """,
)

WRONG_ITEM = topic(
    "wrong_item",
    """
    (inside|in the box|in the parcel) (was|there was|I found|is) (a|the) {item} (instead of|and not|but no) (a|the|my) {item}
    (instead of|in place of) (a|the|my) {item} (I got|I received|you sent|there was|came) (a|the|only a) {item}
    (only|just) (one|two|half|{number}) of (the|my) ({number}|two|three|four) {item}s (came|arrived|were there|was in the box)
    (one|two|part) of (the|my) (things|items|{item}s) (is|are|was|were) (missing|not there|not in the parcel|left out)
    (this|the) (parcel|order|{item}) (belongs to|is for|has the name of|is addressed to) (someone else|somebody else|another person|my neighbor)
    (you|they) (packed|put in|delivered|mailed) (the wrong|another|a different|someone else's) (thing|{item}|color|size|order|one)
    (the|my) (color|size|model) (is|was) wrong, I (ordered|wanted|asked for|bought) (a {color} {item}|{color}|{size}|another one)
    (I|we) (miss|am missing|are missing|did not get|didn't find) (a|the|one|my) {item} (in the parcel|in my order|from the box|that I ordered|that I paid for)
    (I got|I received|you sent me|you sent|I was sent|you delivered) the wrong (item|product|thing|{item}|order|color|size|parcel|model)
    (I ordered|I bought|I asked for|I wanted|I paid for) a {item} (but|and) (got|received|you sent me|found|there was) a {item}
    (I ordered|I bought|I asked for) a {item}, (not|but this is|and this is) a {item}
    this is not (what I ordered|the {item} I ordered|what I bought|my order|the right {item}|the thing I ordered)
    (that's|this is|it is|it's) the wrong (item|product|thing|{item}|color|one|parcel)
    (I ordered|I asked for|I chose) (the {color} {item}|{color}|a {color} one) (but|and) (got|received|you sent) (a {color} one|{color}|the {color} {item})
    (you|your shop|someone|the warehouse) (mixed up|messed up|confused|swapped|mixed) my (order|parcel|items|{item} with another order)
    (there is|there's|I have) (something|an item|one thing|a {item}|the {item}) missing (from|in) (my order|my parcel|the box|my package|the delivery)
    (the|a|my) {item} (is|was) missing (from|in) (my order|my parcel|the box|the package|my delivery)
    (the|my) {item} (is|was) not in (the box|my parcel|the package|the delivery|my order)
    (part|half|one part|a piece) of my order (is|was) missing
    (I only got|I only received|you only sent|there was only|I got just) (one|half|part|two|one of two|the {item}) (of my order|of the items|of the things I ordered|instead of two|instead of three|, the rest is missing)
    I ordered (two|three|four) and (got|received) (only one|just one|one|two|five)
    (the box|my parcel|the package) (was|is|came|arrived) empty
    (I got|I received|you sent me) (someone else's|another person's|a stranger's|another customer's|my neighbor's) (order|parcel|package|{item})
    (the|this) (parcel|package|box) (has|contains|is full of) (things|items|stuff) (I did not order|I never ordered|that are not mine|for someone else)
    I (did not|didn't|never) order (this|this {item}|a {item}|what is in the box|the {item} you sent)
    (I got|you sent me) a {item} I (never|did not|didn't) (order|ask for|want)
    (what came|what arrived|the thing that came) is not what I (ordered|bought|chose)
    (order|my order) {order} (is incomplete|is not complete|came with the wrong {item}|has the wrong item|is missing a {item})
    (you|they) (forgot|left out) (my|the) {item} (in the box|in my order|in the parcel|)
    (the|my) (delivery|order|parcel) (is|was) (incomplete|not complete|not right|short one {item}|short)
    there is (one|a) {item} too (many|few) in (my parcel|the box|my order)
    (wrong item|missing item|wrong parcel|something is missing|incomplete order)
    I (bought|ordered|paid for) {number} {item}s (and|but) (only|) (got|received|there were) {number}
    (wrong|incorrect) (item|product|{item}|size|color) (delivered|received|sent|in the box|in my parcel)
    (why did I|why have I) (get|got|received|gotten) (a {item}|this|the wrong thing|someone else's parcel)
    the (label|invoice|slip) (says|shows) a {item} but (the box has|inside is|there is) (a {item}|something else)
    """,
    """
    I'm sorry about that! Our packing team will put it right. Could you send me your order number?
    That is our mistake, sorry. Tell me your order number, and our packing team will send what you ordered.
    Oh dear, our packing team must have slipped. What is your order number? Then we'll send the right thing for free.
    """,
    """
    Thank you. Our packing team will send the right things on the next working day, at no cost.
    Thanks! I told our packing team about it. What you ordered will be with you in 2 to 4 working days.
    Sorry again. Our packing team is correcting your order, and you don't have to pay anything.
    """,
)

PAYMENT_FAILED = topic(
    "payment",
    """
    (each time|every time|whenever|always when) I (try to|want to|) pay (I get an error|it fails|my card is refused|nothing happens|the page hangs)
    (your|the) (system|checkout|site|page) (will not|won't|does not|doesn't) (take|accept|process|let me make) (my payment|my card|the payment|my money)
    (my|the) (bank|card company) (says|said) (everything is fine|the card is okay|it is not their fault) but (the payment fails|I can't pay|your shop refuses my card)
    (I|we) (can not|can't) (finish|complete|close) (the|my) (payment|order because the payment fails)
    my (payment|card|credit card|bank card) (was|is|got|keeps being) (declined|rejected|refused|not accepted|blocked)
    (my|the) payment (failed|fails|did not go through|does not go through|doesn't work|won't go through|was not accepted|is stuck|keeps failing)
    I (can't|cannot|am not able to|could not|couldn't) pay (for my order|with my card|at the checkout|by card|for the {item}|)
    (the checkout|the payment page|the pay button) (does not work|doesn't work|shows an error|hangs|crashed|is broken|won't take my card|won't load|freezes)
    I get an error (when I pay|when paying|at the checkout|while paying|with my card|when I try to pay)
    why (was|is) my (card|payment|credit card) (declined|rejected|refused|not accepted|not working)
    (your site|the site|the shop|the website) (rejects|refuses|won't take|does not accept|won't accept) my (card|payment|money)
    I tried to pay (twice|three times|with two cards|) and it (failed|does not work|was declined|never works)
    (something went wrong|there was an error|there was a problem) with (my|the) payment
    paying (for the {item}|) (does not work|doesn't work|is impossible|fails every time)
    (I entered|I typed) my card (number|details) and (nothing happens|it fails|I get an error|it was declined)
    did my payment (go through|work|arrive|succeed)
    (payment problem|payment failed|card declined|payment error)
    """,
    """
    I'm sorry that the payment did not work. Please check the card number and try again, or choose another payment method.
    Sorry about the trouble! A payment is often refused by the bank. Please try again or use another payment method.
    That's annoying, sorry. You were not billed. Please try the payment once more or use a different card.
    """,
)

PAYMENT_TWICE = topic(
    "payment",
    """
    (why|how come) (is|are|do I see) (the|my|this|your) (same|) (amount|payment|charge|charges) (on my statement|on my card|) (twice|two times|double|three times)
    (you|they) (took|collected|booked|charged) (the money|${price}|the amount|my card) (twice|two times|once too often|double|without asking)
    (too much|the wrong amount|${price} more|double the price) (was|has been|is) (taken|charged|booked|collected) (from my card|from my account|for the {item}|)
    (I|we) (found|see|have|noticed) a (strange|double|wrong|second) (charge|payment|booking) (from your shop|on my card|for order {order}|)
    I (was|have been|got) (charged|billed|debited) (twice|two times|double|three times|too much|more than once|the wrong amount) (for (my order|the {item}|one order)|)
    (you|your shop) (charged|billed|debited) (me|my card) (twice|two times|double|too much|three times|again|${price} too much)
    (there are|I see|I have) (two|three|double|strange|unknown) (charges|payments|debits|bookings) on my (card|bank statement|statement|bank account)
    (there is|there's|I see|I found) a (charge|payment|debit) (of ${price}|) (on my card|on my statement|) (I don't know|I do not recognize|that is not mine|that is wrong|from you)
    (the|my) (money|payment|amount) (was|has been) (taken|debited|collected|withdrawn) (twice|two times|too early|from the wrong card|but my order was not placed|but there is no order)
    (the|my) (bill|total|amount|charge) (is|was|seems) (wrong|too high|not right|higher than it should be|incorrect)
    (why|what for) (did you|have you|was I) (charge|charged|take|bill) (me|) ${price}
    I paid (twice|two times|double|too much) for (my order|the {item}|the same thing)
    a double (charge|payment|debit) for (my order|order {order}|one {item})
    (order|my order) {order} was (charged|billed|debited) (twice|two times|double)
    my card was (charged|billed) (twice|double|two times|too much) (for the {item}|)
    """,
    """
    I'm sorry about that! Please send me your order number, and I'll have the payment checked right now.
    That must not happen, sorry. What is your order number? We'll check the payment and give back what was too much.
    Thank you for telling me. Our team will check the payment. Could you send me your order number?
    """,
    """
    Thank you. Our team checks the payment. Whatever was taken too much goes back to you within 5 working days.
    Thanks! I have reported the payment, and anything billed twice comes back within 5 working days.
    """,
)

PAYMENT_HOW = topic(
    "payment",
    """
    (what|which) (card|cards|methods|ways) (can|could|may) (I|we) (use|pay with|choose) (to pay|in your shop|at the checkout|)
    (can|may|could) (I|we) (use|pay with|take) (my debit card|a foreign card|a check|cash|my bank account|two cards|my {person}'s card)
    (where|how|when) (do|can|will) I (get|find|receive|see|download) (the|my|an) (invoice|receipt|bill) (for the {item}|for my order|)
    (do|must|should) (I|we) pay (before|after|when) (the delivery|you ship|it arrives|ordering)
    (how can I|how do I|how may I|in what ways can I) pay (for my order|for the {item}|in your shop|online|)
    (which|what) (payment methods|ways to pay|payment options|cards|credit cards) do you (accept|take|offer|have|support)
    (do you|can you|does your shop) (take|accept) (credit cards|debit cards|cash|bank transfers|checks|cards|mobile payment|payment by invoice|foreign cards)
    (can I|could I|may I|is it possible to) pay (by|with|in|using) (card|credit card|cash|bank transfer|invoice|check|installments|debit card|my phone|two cards)
    (can I|could I) pay (later|after delivery|on delivery|in parts|in installments|when it arrives|at the door)
    (is|are) (payment by invoice|paying by card|installments|cash on delivery|paying in parts) possible
    (is|are) (paying|my payment|my card details|payment|my bank details) (safe|secure|protected) (with you|on your site|)
    (what|which) (are the|are your|) payment (methods|options|choices|ways)
    when (will|do) you (charge|bill|debit) my card
    (I need|can I get|could you send me|where is|where do I find|please send me|I want) (an|my|the|a copy of my) (invoice|receipt|bill) (for my order|for the {item}|for order {order}|)
    (payment|paying) (methods|options|by card|by invoice)
    (payment|credit card|invoice|bank transfer|receipt)
    """,
    """
    Payment is possible by credit card, debit card, bank transfer or gift card. The invoice comes by email.
    We offer payment by card, bank transfer or gift card. Every payment is encrypted, and the invoice comes by email.
    You can choose the payment method on the last page of your order: card, bank transfer or gift card.
    """,
)

PRODUCT_STOCK = topic(
    "product",
    """
    (do|would) you (happen to|still|also|by chance|) (have|sell|carry|stock) (this|the|a|any) ({color} |){item}(s|)
    (are|is) (there|) (any|still a|still some) ({color} |){item}s (left|available|to buy|in the shop)
    (my|our) {person} (wants|would like|needs|is looking for|loves) a ({color} |){item}, (do you have one|do you sell them|what can you recommend|which one is good)
    (what|which) (present|gift|{item}) (would you|do you|can you) (recommend|suggest|advise) (for my {person}|for {occasion}|for a friend|for a child)
    (does|do) (the|your) {item}(s|) (exist|come|also come) in (another color|{color}|other sizes|{size}|a bigger size)
    (when|will) (is|does|do|can) (the|your) ({color} |){item} (come back|come in again|return to the shop|be sold again|available again)
    (is|are) (the|your|this) {item} (in stock|available|still available|sold out|back in stock|out of stock|on sale)
    (do you|does your shop) (have|sell|carry|stock|offer) (a|any|) {item}
    (do you|does your shop) (have|sell|carry|offer|stock) {item}s
    (do you have|have you got|is there|can I get) (the|a|this) {item} in ({color}|{size}|other colors|another size|{color} too)
    (when|how soon) will (the|your) {item} be (back|in stock|available|back in stock) (again|)
    I am looking for a (good|nice|cheap|{color}|small|large|big|) {item} (for my {person}|for {occasion}|)
    I (want|would like|'d love|need) to (buy|order|get|purchase) a (new|good|{color}|nice|) {item} (for my {person}|for {occasion}|from you|)
    (can you|could you) (recommend|suggest) (a|some) (gift|present|{item}|good {item}|nice gift) (for my {person}|for {occasion}|)
    (what|which) (colors|sizes|models|kinds|types) (does the {item} come in|of {item} do you have|of {item} do you sell|do you have)
    what (do you|does your shop|can I) (sell|have|offer|buy here|buy from you)
    (show me|tell me about) your ({item}s|products|range|best {item}|new things)
    (how many|how much) {item}s (are left|do you have left|are in stock)
    I (can't|cannot) find the {item} (on your site|in your shop|on the website|anymore)
    will you (restock|get more|get new|sell) (the {item}|{item}s) (again|soon|)
    I need a (gift|present) for my {person}
    (products|{item}|{item}s|gifts|presents)
    (do you have|any|have you got) (any|some|) (recommendations|suggestions|ideas|good gifts|gift ideas|new products)
    (where|how) can I (buy|order|get) a {item}
    """,
    """
    Good choice! You'll see on its product page whether it is in stock and in which colors and sizes.
    Everything that we sell has a product page with stock, colors and sizes. If something is sold out, leave your email there, and we'll tell you.
    Please have a look at the product page: it shows what is in stock, with all colors and sizes.
    We sell things for home and outdoors. Just use the search box, and the product page shows what is in stock.
    """,
)

PRODUCT_FACTS = topic(
    "product",
    """
    (is|are) (your|the) {item}(s|) (made|really|also|) (of|from|out of|) (wood|metal|glass|wool|cotton|leather|plastic|good quality|strong enough)
    (how|what) (high|deep|long|wide|big|heavy|large) is (this|the|your) ({color} |){item}
    (can|may|could) (the|this|your) {item} (be washed|be used outside|get wet|go in the dishwasher|stand in the rain|be cleaned with water|be folded)
    (which|what|how) (size|color|kind|material) (is|has|does) (the|your) {item} (have|made of|in the picture|)
    (which of your|which) {item}s (is|are) (the best|good|right|big enough|warm enough|the cheapest|suitable) (for {occasion}|for my {person}|)
    (what|how much) (must I pay|do I pay|do you want|do you ask) for (a|the) ({color} |){item}
    how (much|expensive) is (the|your|a|this) {item}
    how much (does|do) (the|a|your) {item} cost
    (what is|what's) the price of (the|a|your) {item}
    (what is|what's) (the|your|this) {item} made (of|from|out of)
    (what size|how big|how large|how heavy|how tall|how wide|how long|how thick) is (the|your|this) {item}
    is (the|your|this) {item} (waterproof|washable|dishwasher safe|made of wood|made of wool|made of cotton|made of leather|good for winter|safe for kids|heavy|warm|handmade|good quality|easy to clean|suitable for outdoors)
    (can I|how do I|may I) (wash|clean|iron|use|assemble|put together) the {item} (in the machine|outside|in the rain|in winter|in the oven|)
    (does|will) the {item} (fit|work|come) (a double bed|in a small room|outdoors|with batteries|with a lid|with a bag|with a manual|for two people|in the rain)
    (what are|tell me|give me) the (measurements|dimensions|details|facts|specs) of (the|your) {item}
    (tell me more|I have a question|I want to know more|can you tell me something) about (the|your) {item}
    (which|what) {item} (is better|is best|would you pick|do you recommend|is the cheapest|is the warmest) (for {occasion}|for my {person}|)
    (what is|what's) the difference between (the two|your) {item}s
    (is|are) the {item} (new|really made by hand|organic|vegan|made locally)
    how do I (care for|look after|use|clean|put together|set up) (the|my|a) {item}
    what size (should I take|do I need|would fit me|is right for me|should I order) (for the {item}|)
    (is there|do you have) a (size chart|size guide|size table|manual) (for the {item}|)
    """,
    """
    You'll find price, size, material and care on the product page.
    The product page lists price, size and material, and how to care for it.
    Good question! Price, measurements and material are all on the product page.
    """,
)

DISCOUNT = topic(
    "discount",
    """
    (do|will|can) (I|we) (get|pay|have) (less|a lower price|something off|a better price|a discount|a cheaper price) (if|when) (I buy|we order|I take) ({number}|two|more|several) {item}s
    (do|are there|is there) (you have|) (a|any|) (special|lower|reduced) prices for (students|teachers|children|regular customers|families|my {person})
    (your|the) (site|shop|checkout|page) (does not|doesn't|won't) (take|accept|know|like) (my|the) (code|coupon|voucher|gift card) ({code}|)
    (which|what) (code|codes|coupon|discount) (can I use|do I need|works|is valid) (for a {item}|for my first order|now|)
    (where|how) (is|does|do) (the|my|a) (box|field|place) for (the|my|a) (code|coupon|voucher|gift card) (work|)
    (can|may|could) (I|we) (pay with|use|combine|enter) (my|a|two) (voucher|gift card|coupons|gift cards|codes) (and a code|too|together|for the {item}|)
    (when|will there be|is there) (do you have|a|the next) (sale|special offer|big discount|winter sale|summer sale) (soon|again|this month|)
    (do you have|have you got|is there|are there) (a|any|some) (discount|discounts|coupon|coupons|voucher|promo code|promotion|sale|special offer|deals|discount code) (now|this week|for new customers|for students|on the {item}|)
    (can I|could I|may I|how can I|how do I) (get|have|receive) a (discount|coupon|voucher|discount code|promo code|better price|lower price) (on the {item}|for my order|)
    my (discount code|coupon|voucher|promo code|code|coupon code) (does not work|doesn't work|is not accepted|isn't working|was rejected|is invalid|has expired|won't go in|fails)
    the (code|coupon|voucher|promo code) {code} (does not work|doesn't work|is not accepted|was rejected|is invalid|has expired|fails)
    (where|how) (do I|can I) (enter|use|put|type|redeem|apply) (my|the|a) (discount code|coupon|voucher|promo code|code|gift card|code {code})
    I (forgot|was not able|did not manage) to (use|enter|apply|put in) my (code|coupon|voucher|discount code|discount)
    (can I|could I|is it possible to) (use|combine|redeem) (two|both|several) (codes|coupons|vouchers|discounts) (at once|together|in one order|)
    (is|are) (the|your) {item} (on sale|discounted|reduced|cheaper this week|on offer)
    (when is|when does) (your|the|the next) (sale|summer sale|winter sale|discount) (start|begin|end|over|)
    (do you|does your shop) (sell|have|offer) (gift cards|gift vouchers|gift certificates)
    (I have|I got|my {person} gave me) a (gift card|gift voucher|gift certificate|coupon|voucher), (how do I use it|how does it work|where do I enter it|can I use it online)
    (how much|what) is (left|the balance) on my gift card
    (I want|I would like|I'd like) to (buy|give) a gift (card|voucher) (for my {person}|for {occasion}|)
    do (students|nurses|teachers|seniors|new customers|regular customers|members) get a (discount|lower price|special price)
    (can you|could you) (make me|give me) a (better price|discount|good price|deal|price cut) (on the {item}|)
    (is there|do I get) (something off|money off|ten percent off|a rebate|a reduction) (if I buy two|on my first order|for newsletter readers|)
    (I was promised|the newsletter promised|I saw an ad with) (a discount|ten percent off|a coupon|a code)
    (I would like|how do I sign up for|how do I get|can I get) (the|your) newsletter (discount|coupon|code)
    {code} (does not work|doesn't work|is not accepted|will not work) at the checkout
    (coupon|voucher|discount|promo|gift card) (code|codes|please|)
    (discount|discounts|coupon|coupons|sale|offers|deals|any discounts)
    (is there|do you have) (a|any) (loyalty program|bonus program|points program|reward program)
    my gift card (does not work|is not accepted|has expired|is lost|was rejected)
    """,
    """
    Newsletter readers get a code for 10 percent off. You can enter a code on the last page of your order.
    Please type your code or gift card number in the box on the last page of your order. Each order takes one code.
    You get 10 percent off your first order with the code from our newsletter. A code or gift card goes in the box before you pay.
    """,
)

ACCOUNT = topic(
    "account",
    """
    (I|we) (don't|do not|can't|cannot) (know|remember|find|recall) (my|the|our) (password|login|user name|login details) (anymore|for your site|for the shop|)
    (your|the) (site|shop|page|app) (does not|doesn't|won't) (let me|allow me to) (in|log in|sign in|into my account|change my password)
    (since {day}|for {span}|suddenly) (I|we) (can't|cannot) (log in|sign in|get into my account|use my account)
    (please|could you|can you) (block|close|delete|remove|unlock|open) my (account|profile|login|data)
    (how|where) (do|can) I (change|see|edit|update|delete) (the|my) (email|password|name|data|phone number|birthday) (saved in my account|in my profile|on your site|in my account)
    (no|the|your) (email|mail|link|message) (to reset my password|with the reset link|for the new password|to confirm my account) (came|did not come|arrived|never arrived|is missing)
    (somebody|someone|a thief|my {person}) (is|was) (using|in|inside) my account (and|) (ordered things|changed my password|without asking|)
    (I|we) (want|need|would like) (a|to choose a|to set a|to make a) (new|different|better|safer) (password|user name|login)
    I (forgot|lost|can't remember|do not remember|don't know) my (password|login|user name|username|account password|login details)
    (how do I|how can I|can you|please|can I|I want to|I need to) (reset|change|renew|set) (my|the|a new) password
    I (can't|cannot|am not able to|couldn't|can not) (log in|log into my account|sign in|login|get into my account|access my account|sign into my account)
    (the|my) (login|log in|sign in|password) (does not work|doesn't work|fails|is not accepted|is wrong|is rejected|shows an error)
    my account (is|was|got|has been) (locked|blocked|hacked|disabled|suspended|gone|deleted)
    (how do I|how can I|can I|where can I|I want to|I would like to) (create|open|make|set up|register) (an|a new|my) account
    (how do I|how can I|can you|please|I want to|I would like to) (delete|close|remove|deactivate) my (account|profile|data)
    (how do I|how can I|can I|I want to|I need to) (change|update|edit) my (email|email in my account|name in my account|phone number|profile|account details|user name)
    (do I need|must I have|do I have to make) an account to (order|buy something|buy a {item}|shop here)
    (I did not|I didn't|I never) (get|receive) (the|a|your) (password|reset|confirmation|sign up|activation) (email|link|mail)
    (the|your) (reset link|password link|activation link|link in the email) (does not work|doesn't work|has expired|is dead|never came)
    (someone|somebody|a stranger) (hacked|used|got into|is using|logged into) my account
    (it|the site|your site|the website) (says|tells me) my password is (wrong|incorrect|invalid)
    I have two accounts, (can you merge them|can I join them|please delete one)
    I am locked out (of my account|)
    (I have|there is) a problem with my (account|login|profile|password)
    where (can I|do I) (see|find) my (account|past orders|old orders|order history|profile|settings)
    (unsubscribe me|take me off|how do I leave|stop) (from|) (the|your) (newsletter|emails|mailing list)
    (password|login|account) (problem|help|reset|trouble|issue)
    (password|login|my account|sign in|log in|account|forgot password|newsletter)
    (can I|how do I) (register|sign up|join) (on your site|with my email|)
    (I have|got) a new (email|phone number), (how do I change it|please change it in my account|where do I enter it)
    (my|the) (account|profile) (shows|has) the wrong (name|email|birthday|phone number)
    """,
    """
    You can set a new password with the link on the sign-in page. All other account settings are under My Account.
    Please use the link Forgot password on the sign-in page. Within minutes you'll get an email, and your account is open to you again.
    You can manage your account on the sign-in page: sign up, set a new password, change your email or close the account.
    """,
)

ADDRESS = topic(
    "address",
    """
    (my|the|our) (order|parcel|package|{item}) (has to|must|should|needs to) (go|be sent|be delivered|come) to (a new|another|my new|my {person}'s|a different) (address|place|house|street)
    (I|we) (live|am living|are living|stay) (somewhere else|at a new address|at another address|in {place}|in {street}) now, (please|can you) (change|update) (it|the address|my order)
    (there is|I see|I made) (a mistake|an error|something wrong|a typo) in (the|my) (address|street|house number|street name) (of order {order}|of my order|)
    (could|can|please) (you|) (bring|deliver|leave|send) (the|my) (parcel|package|order|{item}) (at|to|with) (my office|my neighbor|my {person}|my work|the house next door)
    (I|we) (am|are|will be|won't be) (not at home|away|on vacation|at work|home) on {day}, (please|can you|could you) (deliver|bring|send|leave) it (to my neighbor|at my office|somewhere else|next door)
    (the|my) (street|house number|name on the address|zip code|city) (is|was) (wrong|misspelled|not right|old) (in|on|for) (order {order}|my order|the parcel)
    (I want|I need|I would like|I have|I'd like) to (change|update|correct|edit|fix) (my|the) (address|delivery address|shipping address|street|house number|postal code|zip code)
    (can I|could I|how do I|how can I|is it possible to|can you|could you|please) (change|update|correct|edit|fix) (my|the) (address|delivery address|shipping address|street name|house number|zip code|address of my order)
    I (entered|gave|typed|put|wrote|used) (the wrong|a wrong|my old|an old|an incorrect) (address|delivery address|street|house number|zip code)
    (the|my) (address|delivery address|shipping address|house number|street|zip code) (is|was) (wrong|not correct|incorrect|old|misspelled|missing)
    I (moved|have moved|am moving|just moved) (house|to {place}|to a new flat|to another street|) (and need to change my address|, what about my order|, how do I change my address|, please send it to my new address|)
    (send|ship|deliver|please send|please deliver|can you send|can you deliver) (it|my order|the parcel|my {item}|order {order}) to (another|a different|my new|my office|my work|my neighbor's) (address|place|)
    (can|could) (it|my order|my parcel|the {item}) (be sent|be delivered|go|be shipped) to (another address|a different address|my new address|my office|my neighbor|my {person}'s house|a pickup point)
    (I won't be|I am not|I will not be|nobody is|no one is) (home|at home), (can you deliver to my neighbor|can it go to another address|can you send it to my office|send it to my {person}'s address instead)
    my (new|correct|right) address is {number} {street}
    (the parcel|my order|the {item}) (should|must|has to) go to {number} {street}
    (please|can you|could you|) (send|ship|deliver) (it|my order|the parcel|the package|my {item}) to {number} {street} (instead|please|now|)
    (address|new address|wrong address|change address|address change)
    (my|our) (new|) address: {number} {street}
    (please use|use) (my|the) (new|other|second|work|office) address (for my order|for order {order}|instead|)
    (I made|there is) a (typo|mistake|spelling mistake|error) in (my|the) (address|street name|house number|delivery address)
    (the parcel|my order|it) (is going|was sent|will go|goes) to (my old|the wrong|a wrong|my former) address
    (which|what) address (did I enter|do you have|is my parcel going to|is on my order|are you sending it to)
    (change|update|correct|new|wrong) (of|) (address|delivery address|shipping address) (please|for order {order}|for my order|)
    (redirect|reroute|forward) (my|the) (parcel|package|order|delivery) (to another address|to my office|to my neighbor|to my {person}|please)
    (can I|could I) (pick a different|add a second|use another|have two) (address|delivery address|shipping address)
    (can I|may I) (have it delivered|have the {item} sent|send the order) (to my {person}'s address|to my office|to a different address|as a gift to another address)
    I (forgot|left out) (my|the) (house number|apartment number|street|zip code|floor|flat number) in (the|my) (address|order)
    """,
    """
    I can change the address as long as the parcel has not left. Please send me your order number and the new address.
    No problem. What is your order number, and what is the new address?
    Sure! Tell me your order number and the right address, and I'll update it before the parcel leaves.
    """,
    """
    Thank you. I have updated the address, and the parcel goes to the new place.
    Thanks! Your order had not left yet, so the new address is saved.
    Done. The address of your order is changed, and you'll get an email about it.
    """,
)

HOURS = topic(
    "hours",
    """
    (at|from|until) (what|which) (time|hour) (can|may|could) (I|we) (come|visit|call|phone|shop|drop by) (on {day}|)
    (is|are) (your shop|the store|you|somebody|anybody) (there|open|closed|reachable) (on {day} evening|at noon|at night|on {day} morning|after work|early)
    (please|could you|can you) (tell|give|send) me (the|your) (hours|opening hours|phone number|address of the shop|way to the shop|number of the shop)
    (what|which|on what) (street|road|number|city|part of town) (is|has|do I find) (your|the) (shop|store)
    (can|may|could) (I|we) (fetch|collect|pick up|get|take) (it|the {item}|my order|the parcel) (at|from|in) (the|your) (store|shop) (myself|in person|)
    (when|how long) (are you|is the shop|is the store) (closed|open|shut) (for lunch|on {day}|at Christmas|on holidays|)
    (what are|tell me|when are) your (opening hours|hours|business hours|store hours|opening times|working hours)
    when (do you|does your shop|does the shop|does the store) (open|close) (on {day}|in the morning|in the evening|)
    (what time|at what time|how late|until when) (do you|does the shop|does the store|are you) (open|close|stay open|opened) (on {day}|)
    (are you|is the shop|is the store|is your shop) (open|closed) (on {day}|on weekends|on holidays|on Sundays|now|in the evening|over lunch|)
    (where is|where's|where can I find) (your shop|your store|the shop|the store|your office)
    (do you have|is there) a (shop|store|real shop|physical store|showroom) (I can visit|in {place}|near me|in town|)
    (can I|could I|may I) (visit|come to|come by|drop by|stop by|walk into|shop in) (your shop|your store|the shop|the store) (on {day}|)
    (can I|could I|may I) (pick up|collect|fetch|get) (my order|my {item}|the {item}|my parcel) (in the shop|at your store|in person|myself|from the store)
    (what is|what's) (your|the) (shop's location|store location|phone number|telephone number|email for questions)
    (how can I|how do I|where can I) (call|phone|ring) (you|the shop|your shop|customer service)
    (what|which) (days|hours) (are you|is the shop) open
    (is there|do you have) (parking|a parking lot|a bus stop) (at|near|by) (your|the) (shop|store)
    how do I (get to|find|reach) (your|the) (shop|store)
    (opening|business|store) (hours|times) (please|on {day}|)
    (hours|opening hours|phone number|store|location|where are you)
    (do you|does the shop) (work|open) on (weekends|holidays|Sundays|{day})
    (when|what time) (can I|could I) (come|come by|visit|drop in|stop by) (on {day}|)
    (from when|from what time) (is|are) (the phone|your phone line|you|the shop) (open|reachable|there)
    in (which|what) (city|street|town) is (your|the) (shop|store)
    (what is|what's) the number (to call|I can call|of your shop)
    """,
    """
    Our shop at 12 Mill Street is open Monday to Saturday from 9 to 6. Our phone number is 555 0142.
    We are open Monday to Saturday from 9 to 6, at 12 Mill Street. On Sundays we are closed.
    You are welcome to visit us at 12 Mill Street. We are open from 9 to 6, Monday to Saturday.
    """,
)

HANDOVER = topic(
    "handover",
    """
    (let|have) (a|some) (human|person|real person|colleague|manager) (answer|talk to me|read this|help me|write to me|call me)
    (could|can|would) (someone|somebody|a person|one of your people) (from customer service|from your team|of your staff|) (call|phone|ring|help|write to|contact) me (back|please|)
    (your|this|the) (shop|service|chat|support|company) (is|was) (so|really|very|just|) (bad|awful|terrible|poor|slow|useless|horrible)
    (I|we) (have|had) enough (of this|of your shop|of this bot|), (I want to complain|give me a person|get me your manager|I want a human)
    (I|we) (am|are|feel) (so|very|really|) (angry|mad|fed up|annoyed|disappointed|furious) (because|that) (nobody helps|nothing works|you do not answer|no one cares|nobody calls back)
    (this|the) (bot|robot|chat|machine|assistant) (can't|cannot|does not|doesn't|won't) (help|understand|answer) (me|anything|at all)
    (I|we) (called|wrote|emailed|phoned) (you|your shop|) (twice|{number} times|many times|again) (and|but) (no one|nobody) (answered|helped|called back|cares|replied)
    (put|get|bring) (me|) (somebody|someone|your boss|a manager|a person) (on the phone|on the line|here|in this chat|to talk to)
    (I want|I need|I would like|I'd like|let me|can I|could I|may I) (to|) (talk|speak|chat) (to|with) (a human|a person|a real person|someone|an agent|your manager|a manager|the boss|customer service|somebody real|a live agent|an employee|a representative|staff)
    (can|could|please) (a human|a person|someone|somebody|a manager|an agent|a real person) (call|help|contact|phone|answer|write) me (back|)
    (connect|transfer|pass|put) me (to|through to|on to) (a human|an agent|a person|someone|the manager|your boss|customer service|support|a representative)
    (give|get) me (a human|a person|your manager|the manager|someone real|a real person|an agent|somebody who can help)
    (I want|I would like|I have|I need) to (make|file|lodge|write) a complaint (about (your service|the courier|your shop|my order)|)
    I (want|would like) to complain (about (your service|the courier|your shop|my order|the quality)|)
    (this is|that is|your service is|your shop is) (terrible|awful|unacceptable|a disgrace|a joke|the worst|horrible|ridiculous|very bad|a scandal)
    I am (very|really|so|extremely) (angry|upset|disappointed|annoyed|frustrated|furious|unhappy) (with you|with your shop|with your service|about this|)
    (you are|this bot is|this chat is) (useless|not helping|no help|stupid|not helpful|a waste of time|dumb|terrible)
    (nobody|no one) (answers|helps|replies to|reads|calls) (me|my emails|my calls|my messages|me back)
    I (have written|wrote|called|emailed|asked) (you|) (three times|many times|twice|again and again) (and nobody answers|and got no answer|without an answer|and nothing happens)
    (I don't want|I do not want|I'm tired of|stop giving me) (to talk to a|talking to a|a|this) (bot|robot|machine|computer|chatbot)
    (is there|do you have|isn't there) (a human|a person|anyone|someone|a real person|somebody) (I can talk to|I could speak with|who can help me|here who can help|I can call about this)
    I will (never|not) (buy|order|shop) (here|from you|with you|anything here) again
    (you|your people) (do not|don't) (understand|help|listen to) me
    (human|agent|manager|operator|representative|person|supervisor|real person) (please|)
    what a (terrible|bad|poor|lousy|awful) (service|shop|experience|company)
    (complaint|complain|human|manager|real person)
    (the|your) (courier|driver|employee|staff|delivery man|customer service) (was|is) (rude|very rude|unfriendly|impolite|no help)
    you did not (help|answer my question|solve my problem|understand my question)
    I (am going to|will|want to) (write a bad review|tell everyone|call my lawyer|report you|leave one star)
    """,
    """
    I understand. I'm passing you on to a colleague, who will write to you within one working day.
    I'm sorry that this went badly. A colleague of mine will take over and call you within one working day.
    I'm sorry about the trouble! One of my human colleagues will look at this and answer you by email.
    """,
)

SHOP_TOPICS: tuple[Topic, ...] = (
    ORDER_STATUS,
    SHIPPING_COST,
    SHIPPING_TIME,
    SHIPPING_PLACE,
    REFUND_ASK,
    REFUND_WHERE,
    RETURN,
    CANCEL,
    DAMAGED,
    WRONG_ITEM,
    PAYMENT_FAILED,
    PAYMENT_TWICE,
    PAYMENT_HOW,
    PRODUCT_STOCK,
    PRODUCT_FACTS,
    DISCOUNT,
    ACCOUNT,
    ADDRESS,
    HOURS,
    HANDOVER,
)
